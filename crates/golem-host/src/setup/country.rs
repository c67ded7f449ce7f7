//! The country in which a machine most likely stands.
//!
//! Owns the guess, by the time zone that its clock has. Never asks anybody.

use std::path::Path;

/// The zone of this machine's clock, as its links and files name it, and the table of zones.
const LINK: &str = "/etc/localtime";
const NAME: &str = "/etc/timezone";
const ZONES: [&str; 2] = ["/usr/share/zoneinfo/zone.tab", "/usr/share/zoneinfo/zone1970.tab"];

/// Two letters (ISO 3166); `None` where the zone belongs to no country, as UTC does.
#[must_use]
pub fn guess() -> Option<String> {
    let zone = std::fs::read_link(LINK)
        .ok()
        .and_then(|link| zone_of(&link))
        .or_else(|| std::fs::read_to_string(NAME).ok().map(|name| name.trim().to_owned()))?;
    ZONES
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| country_of(&table, &zone))
}

/// The zone whose file `link` leads to.
fn zone_of(link: &Path) -> Option<String> {
    let text = link.to_str()?;
    text.split_once("zoneinfo/").map(|(_, zone)| zone.to_owned())
}

/// The country of `zone` in a table whose rows are countries, place and zone, apart by tabs.
fn country_of(table: &str, zone: &str) -> Option<String> {
    table.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut cells = line.split('\t');
        let (countries, _, name) = (cells.next()?, cells.next()?, cells.next()?);
        (name == zone).then(|| countries.split(',').next().unwrap_or(countries).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_in_the_first_country_of_its_row() {
        let table = "# comment\nSE\t+5920+01803\tEurope/Stockholm\nDE,DK,NO\t+5230+01322\tEurope/Berlin\tmost of Germany\n";
        assert_eq!(country_of(table, "Europe/Stockholm").as_deref(), Some("SE"));
        assert_eq!(country_of(table, "Europe/Berlin").as_deref(), Some("DE"));
        assert_eq!(country_of(table, "Etc/UTC"), None);
        let link = Path::new("../usr/share/zoneinfo/America/Argentina/Salta");
        assert_eq!(zone_of(link).as_deref(), Some("America/Argentina/Salta"));
        assert_eq!(zone_of(Path::new("/somewhere/else")), None);
    }
}
