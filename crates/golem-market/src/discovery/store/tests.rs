use super::*;

fn advert(cpu: u32) -> PostedAdvert {
    PostedAdvert {
        ip_address: "203.0.113.7".parse().unwrap(),
        country: "SE".to_owned(),
        platform: Some("x86_64".to_owned()),
        name: None,
        resources: [("cpu", cpu), ("memory", 8), ("storage", 100), ("gpu", 1)]
            .map(|(name, number)| (name.to_owned(), number))
            .into(),
        pricing: None,
        timestamp: None,
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn id(text: &str) -> ProviderId {
    text.parse().unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("discovery.db")).unwrap();
    (folder, store)
}

fn ids(store: &Store, filter: &Filter, page: &Page, now: Timestamp) -> Vec<String> {
    let (rows, _) = store.list(filter, page, now).unwrap();
    let mut ids: Vec<_> = rows.iter().map(|row| row.provider_id.to_string()).collect();
    ids.sort();
    ids
}

const ALL: Page = Page { after: None, limit: 100 };

#[test]
fn adverts_are_shown_for_five_minutes_after_each_post_and_outlive_a_restart() {
    let (folder, store) = store();
    let first = store.put(&id("a"), &advert(4), Claim::Unproven, None, at(0)).unwrap();
    assert_eq!(store.get(&id("a"), at(300)).unwrap(), Some(first.clone()));
    assert_eq!(store.get(&id("a"), at(301)).unwrap(), None);
    let again = store.put(&id("a"), &advert(2), Claim::Unproven, None, at(240)).unwrap();
    assert_eq!((again.created_at, again.updated_at), (at(0), at(240)));
    drop(store);
    let store = Store::open(&folder.path().join("discovery.db")).unwrap();
    assert_eq!(store.list(&Filter::default(), &ALL, at(540)).unwrap().0, std::slice::from_ref(&again));
    assert_eq!(store.clean(at(540)).unwrap(), 0);
    assert!(store.list(&Filter::default(), &ALL, at(541)).unwrap().0.is_empty());
    assert_eq!(store.clean(at(541)).unwrap(), 1);
    let anew = store.put(&id("a"), &advert(2), Claim::Unproven, None, at(600)).unwrap();
    assert_eq!(anew.created_at, at(600));
    assert!(store.remove(&id("a"), Claim::Unproven, None, at(600)).unwrap());
    assert!(!store.remove(&id("a"), Claim::Unproven, None, at(600)).unwrap());
}

#[test]
fn renters_read_what_fits_page_by_page() {
    let (_folder, store) = store();
    for number in 0..9u32 {
        let mut advert = advert(number + 1);
        advert.country = if number % 2 == 0 { "SE" } else { "DE" }.to_owned();
        advert.platform = (number < 5).then(|| "arm64".to_owned());
        store.put(&id(&format!("p{number}")), &advert, Claim::Unproven, None, at(0)).unwrap();
    }
    let now = at(1);
    let filter = Filter { cpu: Some(3), country: Some("SE".to_owned()), ..Filter::default() };
    assert_eq!(ids(&store, &filter, &ALL, now), ["p2", "p4", "p6", "p8"]);
    let arm = Filter { platform: Some("arm64".to_owned()), ..filter };
    assert_eq!(ids(&store, &arm, &ALL, now), ["p2", "p4"]);
    let large = Filter { storage: Some(101), ..Filter::default() };
    assert!(ids(&store, &large, &ALL, now).is_empty());
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let (part, end) = store.list(&Filter::default(), &Page { after, limit: 4 }, now).unwrap();
        seen.extend(part.iter().map(|row| row.provider_id.to_string()));
        after = end;
        if after.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, (0..9).map(|n| format!("p{n}")).collect::<Vec<_>>());
}

/// I-07: 10,000 unsigned adverts fill the database, and keep nobody out.
#[test]
fn i_07_a_full_database_takes_who_has_a_better_right() {
    let (_folder, store) = store();
    let from = |address: &str| Some(Source::of(address.parse().unwrap()));
    store.put(&id("0-0"), &advert(4), Claim::Unproven, from("198.51.0.1"), at(0)).unwrap();
    let fill = "WITH RECURSIVE number (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < ?)
        INSERT INTO adverts SELECT '0-' || n, ip_address, country, platform, name, cpu, memory, storage,
        resources, pricing, signed, created_at, updated_at, '198.51.' || (n % 13) || '.1' FROM adverts, number";
    store.connection().execute(fill, [ADVERTS - 1]).unwrap();
    assert_eq!(count(&store.connection(), "adverts").unwrap(), ADVERTS);
    // Whatever becomes of one more of theirs.
    let _ = store.put(&id("more"), &advert(4), Claim::Unproven, from("198.51.0.1"), at(0));
    for (name, claim) in [("zz", Claim::Unproven), ("zzz", Claim::Proven)] {
        store.put(&id(name), &advert(4), claim, from("203.0.113.9"), at(1)).unwrap();
    }
    assert_eq!(count(&store.connection(), "adverts").unwrap(), ADVERTS);
    let (page, more) = store.list(&Filter::default(), &Page { after: None, limit: 1000 }, at(1)).unwrap();
    assert!(more.is_some() && page[0].provider_id.as_str() == "zzz");
    assert!(page.iter().any(|row| row.provider_id.as_str() == "zz"));
}

#[test]
fn who_signed_once_is_never_spoken_for_without_a_new_signature() {
    let (_folder, store) = store();
    let put = |claim, timestamp: Option<i64>, seconds| {
        let signed =
            PostedAdvert { timestamp: timestamp.map(|second| at(second).as_millisecond()), ..advert(4) };
        store.put(&id("a"), &signed, claim, None, at(seconds))
    };
    assert!(!put(Claim::Unproven, None, 0).unwrap().signed);
    assert!(put(Claim::Proven, None, 1).unwrap().signed);
    assert!(matches!(put(Claim::Unproven, None, 2), Err(StoreError::SignatureNeeded)));
    assert!(matches!(put(Claim::False, None, 2), Err(StoreError::FalseSignature)));
    assert!(put(Claim::Proven, Some(10), 10).unwrap().signed);
    // The same again, one without a time, and one of another day.
    assert!(matches!(put(Claim::Proven, Some(10), 11), Err(StoreError::Old { .. })));
    assert!(matches!(put(Claim::Proven, None, 11), Err(StoreError::Old { .. })));
    assert!(matches!(put(Claim::Proven, Some(90_000), 12), Err(StoreError::WrongTime { .. })));
    let remove = |claim, timestamp: Option<i64>| store.remove(&id("a"), claim, timestamp, at(20));
    assert!(matches!(remove(Claim::Unproven, None), Err(StoreError::SignatureNeeded)));
    assert!(matches!(remove(Claim::Proven, Some(at(10).as_millisecond())), Err(StoreError::Old { .. })));
    assert!(remove(Claim::Proven, Some(at(19).as_millisecond())).unwrap());
    // Not even when nothing of it is shown any more.
    store.clean(at(100_000)).unwrap();
    assert!(matches!(put(Claim::Unproven, None, 100_000), Err(StoreError::SignatureNeeded)));
    assert!(put(Claim::Proven, Some(100_000), 100_000).unwrap().signed);
}
