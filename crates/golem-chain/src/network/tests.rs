//! Profiles that ship, and those of operators.

use super::*;

#[test]
fn the_seeds_profiles_ship_with_the_documented_contract() {
    let folder = tempfile::tempdir().unwrap();
    let l2 = load(folder.path(), "l2.holesky").unwrap();
    // S-120
    assert_eq!(l2.stream_payment_address.unwrap().to_string(), "0x0281B792b5491E3548c8Fc17C24A2e0Cb99FbeC2");
    assert_eq!((l2.chain_id, l2.token_address, l2.testnet), (393_530, Address::ZERO, true));
    let mainnet = load(folder.path(), "mainnet").unwrap();
    // S-203, S-224
    assert!(!mainnet.testnet && mainnet.faucet.is_none(), "S-203: no faucet for real money");
    let faucet = l2.faucet.unwrap();
    let captcha = format!("{}/{}", faucet.captcha_url, faucet.captcha_key);
    // S-225
    assert_eq!(captcha, "https://cap.gobas.me/05381a2cef5e");
}

/// The addresses are those of UPSTREAM's deployment file; the golden vectors of leases use them, too.
#[test]
fn the_profile_of_todays_renters_is_the_default() {
    let hoodi = load(Path::new("/nowhere"), DEFAULT).unwrap();
    assert_eq!((hoodi.chain_id, hoodi.contract_version, hoodi.testnet), (560_048, Version::V4, true));
    let payment = PaymentNetwork::plain(DEFAULT.to_owned(), hoodi, None).unwrap();
    assert_eq!(payment.contract.to_string(), "0xb5a225b2f82D3eFe743D95bA7Fe3BbC475C0a12E");
    assert_eq!(payment.token.to_string(), "0x55555555555556AcFf9C332Ed151758858bd7a26");
    assert_eq!((payment.symbol(), payment.price_id()), ("tGLM", Some(price_id::GLM)));
    for (name, chain_id, has_token) in
        [("sepolia", 11_155_111, false), ("polygon", 137, true), ("ethereum", 1, true)]
    {
        let network = load(Path::new("/nowhere"), name).unwrap();
        assert_eq!((network.chain_id, network.stream_payment_address), (chain_id, None), "{name}");
        assert_eq!(!network.token_address.is_zero(), has_token, "{name}");
    }
}

#[test]
fn a_profile_file_adds_a_network_and_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mine = Network { chain_id: 31_337, local: true, ..shipped()["mainnet"].clone() };
    let path = save(folder.path(), "mine", &mine).unwrap();
    assert_eq!(load(folder.path(), "mine").unwrap(), mine);
    assert_eq!(all(folder.path()).unwrap().len(), shipped().len() + 1);
    let unknown = load(folder.path(), "other").unwrap_err().to_string();
    assert!(unknown.contains("l2.holesky, mainnet, mine"), "{unknown}");
    for bad in ["", "../mine", ".hidden", "a/b", &"a".repeat(65)] {
        assert!(matches!(load(folder.path(), bad), Err(NetworkError::Name(_))), "{bad}");
    }
    std::fs::write(&path, "chain_id = 1\ncontract_version = 4").unwrap();
    let newer = load(folder.path(), "mine").unwrap();
    assert_eq!(newer.contract_version, Version::V4);
    let several = "chain_id = 1\nrpc_url = \"http://a\"\nrpc_urls = [\"http://a\", \"http://b\"]";
    std::fs::write(&path, several).unwrap();
    let several = load(folder.path(), "mine").unwrap();
    // M-08
    assert_eq!(several.endpoints().as_deref(), Some("http://a,http://b"));
    // M-02
    assert_eq!((several.maximum_head_age(), mine.maximum_head_age()), (Some(HEAD_AGE), None));
    for text in [
        "chain_id = 1\ncontract_version = 2",
        "chain_id = 1\ncontract_version = 3",
        "chain_id = -1",
        "chain_id = 1\nunknown = 2",
        "chain_id = 1\ntoken_address = \"0x12\"",
    ] {
        std::fs::write(&path, text).unwrap();
        assert!(matches!(load(folder.path(), "mine"), Err(NetworkError::Content { .. })), "{text}");
    }
    // A file of a shipped name takes its place.
    save(folder.path(), "mainnet", &mine).unwrap();
    assert!(load(folder.path(), "mainnet").unwrap().local);
}

#[test]
fn s_124_a_deployment_file_is_read() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Deployment::read(folder.path()), Err(NetworkError::File { .. })));
    let address = "0x00000000000000000000000000000000000000aa";
    std::fs::write(
        folder.path().join("l2.json"),
        format!(r#"{{"chainId": 5, "StreamPayment": {{"address": "{address}"}}, "more": 1}}"#),
    )
    .unwrap();
    let read = Deployment::read(folder.path()).unwrap();
    assert_eq!(read.contract.address.to_string().to_lowercase(), address);
    assert_eq!((read.chain_id, read.contract.token), (Some(5), Address::ZERO));
    std::fs::write(folder.path().join("l2.json"), "{").unwrap();
    assert!(matches!(Deployment::read(folder.path()), Err(NetworkError::Content { .. })));
}
