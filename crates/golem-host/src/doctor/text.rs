//! `doctor`'s answer for people.
//!
//! Owns the wording. Never judges.

use super::check::{Group, Row, State};
use super::repair::{Repair, Undone};

/// Columns before what was seen.
const MARK: usize = 3;
const TITLE: usize = 17;

/// The `rows` in their groups, after what was `repaired`, and what there is in all.
#[must_use]
pub fn rows(rows: &[Row], repaired: &[Repair], bundle: Option<&str>) -> String {
    let mut lines: Vec<String> = repaired.iter().map(|repair| format!("🔧 {}", repair.words())).collect();
    if !repaired.is_empty() {
        lines.push("   `golem-provider doctor --undo` puts that back\n".to_owned());
    }
    for group in Group::ALL {
        let of_group: Vec<_> = rows.iter().filter(|row| row.check.group() == group).collect();
        if of_group.is_empty() {
            continue;
        }
        lines.push(format!("\x1b[1m{}\x1b[0m", group.heading()));
        lines.extend(of_group.into_iter().flat_map(row));
        lines.push(String::new());
    }
    lines.push(sum(rows));
    lines.extend(bundle.map(|path| {
        format!("Wrote {path} for a bug report, without secrets; have a look at it before you send it")
    }));
    lines.join("\n")
}

fn row(row: &Row) -> Vec<String> {
    let mark = match row.state {
        State::Ok => "✅",
        State::Notice => "⚠ ",
        State::Unknown => "? ",
        State::Broken => "❌",
    };
    let indent = " ".repeat(MARK + TITLE);
    let mut lines = vec![format!("{mark} {:<TITLE$}{}", row.check.title(), row.seen)];
    lines.extend(row.fixes.iter().map(|fix| format!("{indent}fix:  {fix}")));
    if row.state == State::Broken {
        lines.push(format!("{indent}more: {}", row.help));
    }
    lines
}

/// How many there are of each state, and whether something is repaired by this command.
fn sum(rows: &[Row]) -> String {
    let count = |state: State| rows.iter().filter(|row| row.state == state).count();
    let (broken, notice) = (count(State::Broken), count(State::Notice));
    let mut text = format!(
        "{broken} broken, {notice} to look at, {} not known, {} fine",
        count(State::Unknown),
        count(State::Ok)
    );
    if rows.iter().any(|row| row.repairable) {
        text += "\n`golem-provider doctor --fix` does what is safe of it, and `--undo` puts that back";
    }
    text
}

/// What was put back.
#[must_use]
pub fn undone(undone: &Undone) -> String {
    if undone.put_back.is_empty() && undone.left.is_empty() {
        return "Nothing was repaired that could be put back.".to_owned();
    }
    let back = undone.put_back.iter().map(|one| format!("Put back: {}", of(one)));
    let left = undone.left.iter().map(|one| format!("Left, because it was changed since: {}", of(one)));
    back.chain(left).collect::<Vec<_>>().join("\n")
}

fn of(repair: &Repair) -> String {
    match repair {
        Repair::Mode { path, before, .. } => format!("{} (mode {before:04o})", path.display()),
        Repair::Aside { path, .. } => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Check;
    use super::*;

    #[test]
    fn rows_stand_in_groups_with_their_fixes_and_are_counted() {
        let broken = Row::new(Check::Clock, State::Broken, "it is late").fix("set it").fix("or wait");
        let left = Row { repairable: true, ..Row::new(Check::Leftovers, State::Notice, "a socket") };
        let text = rows(&[Row::ok(Check::Rented, "2 cores are free"), left, broken], &[], Some("/tmp/b"));
        let wanted = "\x1b[1mWhy am I not rented?\x1b[0m\n\
                      ✅ Can be rented    2 cores are free\n\n\
                      \x1b[1mThis machine\x1b[0m\n\
                      ⚠  Left behind      a socket\n\
                      ❌ Clock            it is late\n\
                      \x20                   fix:  set it\n\
                      \x20                   fix:  or wait\n\
                      \x20                   more: docs/troubleshooting.md#the-clock-is-wrong\n\n\
                      1 broken, 1 to look at, 0 not known, 1 fine\n\
                      `golem-provider doctor --fix` does what is safe of it, and `--undo` puts that back\n\
                      Wrote /tmp/b for a bug report, without secrets; have a look at it before you send it";
        assert_eq!(text, wanted);
    }

    #[test]
    fn u_10_rows_fit_a_terminal() {
        let long = "something is off ".repeat(20);
        let row = Row::new(Check::Api, State::Broken, long.trim()).fix(long.trim());
        for columns in [40, 80, 120] {
            let shown = crate::layout::wrapped(&rows(std::slice::from_ref(&row), &[], None), columns);
            let is_wide = |line: &&str| console::measure_text_width(line) > columns;
            let wide: Vec<_> =
                shown.lines().filter(is_wide).filter(|line| line.trim().contains(' ')).collect();
            assert_eq!(wide, Vec::<&str>::new(), "{columns}");
        }
    }
}
