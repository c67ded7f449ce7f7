//! Figures of several rounds, and the tables made of them.

use std::fmt::{self, Display};

/// One quantity, measured once a round.
#[derive(Debug, Clone, Default)]
pub struct Figures(Vec<f64>);

impl Figures {
    /// Adds a round's figure.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The figure in the middle; NaN where nothing was measured.
    #[must_use]
    pub fn median(&self) -> f64 {
        percentile(&self.0, 0.5)
    }

    /// The figure below which the share `rank` (0 to 1) of all lies; NaN where nothing was measured.
    #[must_use]
    pub fn rank(&self, rank: f64) -> f64 {
        percentile(&self.0, rank)
    }

    /// The least and the greatest figure.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        (percentile(&self.0, 0.0), percentile(&self.0, 1.0))
    }
}

impl FromIterator<f64> for Figures {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// `median (least to greatest)`; the precision is the formatter's, `-` where nothing was measured.
impl Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("-");
        }
        let precision = formatter.precision().unwrap_or(1);
        let (least, greatest) = self.spread();
        write!(formatter, "{:.precision$}", self.median())?;
        if self.0.len() > 1 {
            write!(formatter, " ({least:.precision$} to {greatest:.precision$})")?;
        }
        Ok(())
    }
}

/// The figure below which the share `rank` (0 to 1) of all lies, by nearest rank; NaN of none.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank is between 0 and the number of figures, which is far below 2^52"
)]
pub fn percentile(figures: &[f64], rank: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    let index = (last as f64 * rank.clamp(0.0, 1.0)).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// A table in Markdown.
#[derive(Debug, Clone)]
pub struct Table {
    columns: usize,
    lines: Vec<String>,
}

impl Table {
    /// A table with these column heads.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        let rule = "---|".repeat(heads.len());
        Self { columns: heads.len(), lines: vec![format!("| {} |", heads.join(" | ")), format!("|{rule}")] }
    }

    /// Adds a row; missing cells are empty.
    pub fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.columns, String::new());
        self.lines.push(format!("| {} |", cells.join(" | ")));
    }
}

impl Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

/// The targets of a benchmark, each met or missed.
#[derive(Debug, Clone)]
pub struct Targets {
    table: Table,
    missed: usize,
}

impl Default for Targets {
    fn default() -> Self {
        Self { table: Table::new(&["target", "measured", "met"]), missed: 0 }
    }
}

impl Targets {
    /// Records a target and what was measured for it.
    pub fn add(&mut self, target: &str, measured: impl Display, met: bool) {
        let verdict = if met { "yes" } else { "**no**" };
        self.table.row(vec![target.to_owned(), measured.to_string(), verdict.to_owned()]);
        self.missed += usize::from(!met);
    }

    /// How many were missed.
    #[must_use]
    pub fn missed(&self) -> usize {
        self.missed
    }
}

impl Display for Targets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.table.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_none_is_not_zero() {
        let figures: Figures = [9.0, 1.0, 5.0].into_iter().collect();
        assert_eq!(format!("{figures:.0}"), "5 (1 to 9)");
        assert_eq!(percentile(&[1.0, 2.0, 3.0, 4.0, 5.0], 1.0), 5.0);
        assert!(Figures::default().median().is_nan());
        assert_eq!(Figures::default().to_string(), "-");
    }

    #[test]
    fn a_missed_target_is_counted() {
        let mut targets = Targets::default();
        targets.add("a", 1, true);
        targets.add("b", 2, false);
        assert_eq!(targets.missed(), 1);
        assert!(targets.to_string().contains("| b | 2 | **no** |"));
    }
}
