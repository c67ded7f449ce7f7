//! `books …`: whether what the node has written down of its money is what the chain says.
//!
//! Owns what is printed of that, and how it exits. Never compares: the node does.

use golem_api::views::{BooksCheckView, DifferenceView};

use super::layout::table;
use super::money_source::MoneySource;
use super::{Exit, Invocation};

/// `books check`.
pub(super) async fn check(invocation: &Invocation, repair: bool) -> anyhow::Result<Exit> {
    let printer = invocation.printer;
    let source = MoneySource::open(invocation).await?;
    let all = {
        let _waiting = printer.waiting("Comparing the books with the chain");
        source.check_books(repair).await?
    };
    let rows: Vec<_> = all.iter().flat_map(|check| &check.differences).collect();
    let columns = "stream_id,vm_id,kind,chain_wei,books_wei,transaction";
    printer.list(&all, &rows, columns, || all.iter().map(text).collect::<Vec<_>>().join("\n\n"));
    Ok(exit(&all))
}

fn exit(all: &[BooksCheckView]) -> Exit {
    if all.iter().any(|check| check.left > 0) {
        Exit::Failed
    } else if all.iter().any(|check| check.error.is_some()) {
        Exit::WrongUse
    } else {
        Exit::Done
    }
}

fn text(check: &BooksCheckView) -> String {
    let BooksCheckView { network, contract, streams, payments, .. } = check;
    let title = format!("{network} ({contract})");
    if let Some(error) = &check.error {
        return format!("{title}: the chain could not be read: {error}");
    }
    let blocks = match (check.from_block, check.to_block) {
        (Some(from), Some(to)) => format!(", blocks {from} to {to}"),
        _ => String::new(),
    };
    let seen = format!("{streams} streams, {payments} payments{blocks}");
    if check.differences.is_empty() {
        return format!("{title}: the books equal the chain: {seen}");
    }
    let row = |one: &DifferenceView| {
        [
            one.stream_id.map_or_else(|| "-".to_owned(), |id| id.0.to_string()),
            one.kind.to_string(),
            one.chain_wei.0.to_string(),
            one.books_wei.0.to_string(),
            one.transaction.clone().unwrap_or_else(|| "(the contract's own sum)".to_owned()),
        ]
    };
    let rows = check.differences.iter().map(row);
    let table = table(["STREAM", "KIND", "CHAIN (WEI)", "BOOKS (WEI)", "TRANSACTION"], rows);
    let count = check.differences.len();
    let end = match (check.repaired, check.left) {
        (true, 0) => "All of it is made good.".to_owned(),
        (true, left) => format!("{left} of it cannot be made good by the node."),
        (false, _) => "`golem-provider books check --repair` makes it good; nothing is deleted.".to_owned(),
    };
    format!("{title}: the books differ from the chain in {count} places: {seen}\n{table}\n{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(differences: usize, left: usize, error: Option<&str>) -> BooksCheckView {
        let difference = serde_json::json!({
            "stream_id": 7, "vm_id": null, "kind": "terminated", "transaction": "0xab", "chain_wei": 5, "books_wei": 0,
        });
        serde_json::from_value(serde_json::json!({
            "network": "mine", "contract": "1:0x00", "streams": 1, "payments": 1, "received_wei": 5,
            "from_block": 2, "to_block": 9, "differences": vec![difference; differences], "repaired": left < differences,
            "left": left, "error": error,
        }))
        .unwrap()
    }

    #[test]
    fn it_exits_by_what_it_found() {
        let code = |all: &[BooksCheckView]| std::process::ExitCode::from(exit(all));
        let is = |all: &[BooksCheckView], number: u8| {
            assert_eq!(format!("{:?}", code(all)), format!("{:?}", std::process::ExitCode::from(number)));
        };
        is(&[check(0, 0, None)], 0);
        is(&[check(1, 0, None)], 0);
        is(&[check(0, 0, None), check(1, 1, None)], 1);
        is(&[check(0, 0, Some("no answer")), check(1, 1, None)], 1);
        is(&[check(0, 0, Some("no answer"))], 2);
    }

    #[test]
    fn every_difference_is_named() {
        let told = text(&check(1, 1, None));
        for part in ["7", "terminated", "5", "0xab", "--repair"] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(text(&check(0, 0, None)).contains("equal"));
    }
}
