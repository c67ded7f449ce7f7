//! Which faucet is asked: that of a network's profile, or what the settings put in its place.
//!
//! Never asks one: `golem_chain::faucet` does.

use golem_chain::faucet::Faucet;
use golem_chain::network;

use golem_host::settings::Url;

/// What the settings say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) url: Option<&'a Url>,
    pub(crate) captcha_url: Option<&'a Url>,
    pub(crate) captcha_key: Option<&'a String>,
}

impl Given<'_> {
    /// The faucet, over that of the `profile`. One without a captcha has that of the original's; none
    /// without a faucet.
    pub(crate) fn over(self, profile: Option<&Faucet>) -> Option<Faucet> {
        let default = network::shipped().remove(network::ORIGINAL).and_then(|default| default.faucet);
        let captcha = profile.or(default.as_ref());
        let text = |given: Option<&Url>, profile: Option<&String>| {
            given.map(|url| url.0.clone()).or_else(|| profile.cloned())
        };
        Some(Faucet {
            url: text(self.url, profile.map(|faucet| &faucet.url))?,
            captcha_url: text(self.captcha_url, captcha.map(|faucet| &faucet.captcha_url))?,
            captcha_key: self.captcha_key.or(captcha.map(|faucet| &faucet.captcha_key))?.clone(),
        })
    }
}
