//! What price feeds call a coin.
//!
//! Owns the names of the coins that chains are known for. A symbol that is not here has no price, and never another
//! coin's: a profile names the feed's id itself then. Never asks a feed.

/// What feeds call a GLM.
pub const GLM: &str = "golem";

/// What feeds call the coin of this symbol; `None` if it is not known.
#[must_use]
pub fn of_symbol(symbol: &str) -> Option<&'static str> {
    Some(match symbol {
        "ETH" | "WETH" => "ethereum",
        "GLM" | "tGLM" => GLM,
        "POL" | "MATIC" => "polygon-ecosystem-token",
        "BNB" => "binancecoin",
        "AVAX" => "avalanche-2",
        "XDAI" | "xDAI" => "xdai",
        "USDC" => "usd-coin",
        "USDT" => "tether",
        "DAI" => "dai",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_is_never_priced_as_another_coin() {
        // M-03
        assert_ne!(of_symbol("POL"), of_symbol("ETH"));
        assert_eq!(of_symbol("MINE"), None, "no name, no price");
        assert_eq!(of_symbol("eth"), None, "a symbol is written as it is");
    }
}
