//! How text for people fits a terminal.
//!
//! Owns columns, lines and how times are written. What is for a program, or goes into a file, is never broken: there a row is one
//! line. Never prints.

use console::{Term, measure_text_width};
use jiff::{Timestamp, Unit};

/// What stands before the further lines of a row.
const INDENT: &str = "  ";

/// Columns of a terminal that does not tell how many it has.
pub const COLUMNS: usize = 80;

/// Between two columns.
const GAP: usize = 2;

/// Columns of the terminal that standard output is; `None` if it is a file or a pipe.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    Term::stdout().size_checked().map(|(_, columns)| usize::from(columns)).filter(|columns| *columns > 0)
}

/// `time` to the second, in UTC.
#[must_use]
pub fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `time`, as long ago as it is.
#[must_use]
pub fn age(time: Timestamp) -> String {
    let seconds = Timestamp::now().since((Unit::Second, time)).map_or(0, |span| span.get_seconds());
    match seconds {
        ..60 => format!("{} s ago", seconds.max(0)),
        60..7200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}

/// `rows` under `headings`, in columns two spaces apart. On a terminal that is too narrow a row goes on in
/// the next line; a cell that is wider than the terminal goes on further in.
#[must_use]
pub fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    fitted(headings, rows, terminal_width())
}

fn fitted<const N: usize>(
    headings: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    limit: Option<usize>,
) -> String {
    let all: Vec<[String; N]> = std::iter::once(headings.map(str::to_owned)).chain(rows).collect();
    let width = |column: usize| all.iter().map(|row| measure_text_width(&row[column])).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let lines = lines(&widths, limit);
    let mut text = Vec::new();
    for row in &all {
        for (number, columns) in lines.iter().enumerate() {
            let mut line = if number == 0 { String::new() } else { INDENT.to_owned() };
            for column in columns.clone() {
                line.push_str(&row[column]);
                let padding = widths[column] + GAP - measure_text_width(&row[column]);
                line.extend(std::iter::repeat_n(' ', padding));
            }
            text.push(broken(line.trim_end(), limit.unwrap_or(usize::MAX), 2 * INDENT.len()));
        }
    }
    text.join("\n")
}

/// Which columns stand in which line of a row.
fn lines(widths: &[usize], limit: Option<usize>) -> Vec<std::ops::Range<usize>> {
    let Some(limit) = limit else { return std::iter::once(0..widths.len()).collect() };
    let mut lines = Vec::new();
    let (mut start, mut length) = (0, 0);
    for (column, width) in widths.iter().enumerate() {
        if column > start && length + width > limit {
            lines.push(start..column);
            (start, length) = (column, INDENT.len());
        }
        length += width + GAP;
    }
    lines.push(start..widths.len());
    lines
}

/// `text` with lines of at most `width` columns, broken at spaces; what has none stays whole. A line goes on
/// below its own beginning; one of a name and a text, with a gap between them, below its text.
#[must_use]
pub fn wrapped(text: &str, width: usize) -> String {
    text.lines().map(|line| wrapped_line(line, width)).collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, width: usize) -> String {
    if measure_text_width(line) <= width {
        return line.to_owned();
    }
    let indent = line.len() - line.trim_start().len();
    let item = line.trim_start().starts_with("- ");
    let text = line.find(|sign: char| sign != ' ').and_then(|first| {
        let gap = first + line.get(first..)?.find("  ")?;
        let after = line.get(gap..)?.find(|sign: char| sign != ' ')?;
        Some(measure_text_width(line.get(..gap + after)?))
    });
    // Below the words of an item, and a little further in than the line; at most half of what there is.
    let below = indent + if item { 2 } else { 2 * usize::from(indent == 0) };
    broken(line, width, text.filter(|text| *text <= width / 2).unwrap_or_else(|| below.min(width / 2)))
}

/// `line` broken at spaces, where it is wider than `width`; what follows is `hanging` columns in.
fn broken(line: &str, width: usize, hanging: usize) -> String {
    if measure_text_width(line) <= width {
        return line.to_owned();
    }
    let mut lines = vec![String::new()];
    let mut length = 0;
    for (number, word) in line.split_inclusive(' ').enumerate() {
        let wide = measure_text_width(word.trim_end());
        if number > 0 && length + wide > width && !word.trim().is_empty() && length > hanging {
            lines.push(" ".repeat(hanging));
            length = hanging;
        }
        if let Some(last) = lines.last_mut() {
            last.push_str(word);
        }
        length += measure_text_width(word);
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [[String; 3]; 2] {
        [["web", "50800", "golem-web-20250219-aaaa"], ["a-longer-name", "-", "golem-a-20250219-bbbb"]]
            .map(|row| row.map(str::to_owned))
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        for limit in [None, Some(45), Some(240)] {
            assert_eq!(
                fitted(["NAME", "PORT", "ID"], rows(), limit),
                "NAME           PORT   ID\nweb            50800  golem-web-20250219-aaaa\n\
                 a-longer-name  -      golem-a-20250219-bbbb"
            );
        }
        let wide = fitted(["A", "B"], [["✅".to_owned(), "x".to_owned()]], None);
        assert_eq!(wide, "A   B\n✅  x", "a sign that takes two columns");
    }

    #[test]
    fn h_17_a_row_that_is_too_long_goes_on_in_the_next_line() {
        assert_eq!(
            fitted(["NAME", "PORT", "ID"], rows(), Some(30)),
            "NAME           PORT\n  ID\nweb            50800\n  golem-web-20250219-aaaa\na-longer-name  -\n  \
             golem-a-20250219-bbbb"
        );
        let wide = ["held by another program", "free"].map(|text| ["50800".to_owned(), text.to_owned()]);
        assert_eq!(
            fitted(["PORT", "HERE"], wide, Some(16)),
            "PORT\n  HERE\n50800\n  held by\n    another\n    program\n50800\n  free"
        );
        // Nothing is lost, however narrow it is, and no cell without a space is broken.
        for limit in 1..60 {
            let table = fitted(["NAME", "PORT", "ID"], rows(), Some(limit));
            for cell in rows().into_iter().flatten() {
                assert!(table.contains(&cell), "{limit}: {table}");
            }
            let longest = "  golem-web-20250219-aaaa".len();
            assert!(table.lines().all(|line| line.len() <= limit.max(longest)), "{limit}: {table}");
        }
    }

    #[test]
    fn h_17_lines_break_at_spaces_and_go_on_below_their_beginning() {
        let text = "Overall         \x1b[31mError\x1b[0m\n  - The provider is not running: `golem-provider start`\n\
                    one-word-that-is-longer-than-any-line";
        assert_eq!(
            wrapped(text, 30),
            "Overall         \x1b[31mError\x1b[0m\n  - The provider is not\n    running: `golem-provider\n    start`\n\
             one-word-that-is-longer-than-any-line"
        );
        assert_eq!(wrapped(text, 240), text);
        let named = "Provider        running (pid 7), version 0.1.0";
        assert_eq!(wrapped(named, 32), "Provider        running (pid 7),\n                version 0.1.0");
        assert_eq!(
            wrapped(named, 24),
            "Provider        running\n  (pid 7), version 0.1.0",
            "no room for that"
        );
        for width in 1..80 {
            let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&wrapped(text, width)), words(text), "{width}");
        }
    }
}
