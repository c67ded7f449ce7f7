//! Which image names Multipass can launch.

use golem_types::ImageName;

/// What Multipass calls `image`: a release of Ubuntu. It has no others that run cloud-init here.
pub(super) fn release(image: &ImageName) -> Option<&str> {
    let name = image.as_str();
    let number = match name {
        "noble" | "lts" => "24.04",
        "jammy" => "22.04",
        _ => name.strip_prefix("ubuntu").and_then(|rest| rest.strip_prefix([':', '-'])).unwrap_or(name),
    };
    let (year, month) = number.split_once('.')?;
    let two = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    (two(year) && two(month)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_releases_of_ubuntu_and_never_options_paths_or_urls() {
        for (name, expected) in [
            ("24.04", Some("24.04")),
            ("ubuntu:24.04", Some("24.04")),
            ("ubuntu-22.04", Some("22.04")),
            ("noble", Some("24.04")),
            ("debian-12", None),
            ("core24", None),
            ("2404", None),
        ] {
            assert_eq!(release(&name.parse().unwrap()), expected, "{name}");
        }
    }
}
