//! What a provider offers on contract version 4: a lease that it signs, checked.
//!
//! Owns what is believed of a lease: every value of it follows from what was asked, and its recipient has signed it. Whether
//! it can still be used is for the chain's clock, which the contract goes by: this machine's may be wrong. Never asks anybody.

use alloy_primitives::{Address, B256, hex};
use golem_chain::contract::v4::OpenLease;
use golem_chain::{LeaseQuote, LeaseTerms, Place};
use golem_types::wallet::signer_of_hash;
use golem_types::wire::LeaseQuoteInfo;
use golem_types::{ImageName, Resources, VmName};
use ruint::aliases::U256;

use super::offer::{Offer, OfferError, OfferedLease, Paying, Signed, address};

/// What a lease is asked for.
#[derive(Debug, Clone)]
pub struct LeaseWish {
    /// What the VM is to be called.
    pub name: VmName,
    /// Its image; always named, because a provider's own default is in the terms as well.
    pub image: ImageName,
    pub resources: Resources,
    /// How long it is paid for, in seconds.
    pub duration: u64,
    /// The wallet that will pay.
    pub requestor: Address,
}

impl LeaseWish {
    /// The terms of the lease `lease_id` for it, of `provider` at `rate`, paid in `token` at `place`.
    fn terms(
        &self,
        provider: Address,
        rate: u128,
        (place, token): (Place, Address),
        lease_id: B256,
    ) -> LeaseTerms<'_> {
        LeaseTerms {
            provider,
            requestor: self.requestor,
            name: self.name.as_str(),
            image: self.image.as_str(),
            resources: self.resources,
            rate,
            duration: self.duration,
            token,
            place,
            lease_id,
        }
    }
}

impl Offer {
    /// The lease in `info` for what `wish` says, by the provider `wanted` if it is known who that is.
    ///
    /// # Errors
    /// [`OfferError::Nonsense`], [`OfferError::Other`], [`OfferError::Forged`].
    pub fn of_lease(
        info: &LeaseQuoteInfo,
        wish: &LeaseWish,
        wanted: Option<Address>,
    ) -> Result<Self, OfferError> {
        let nonsense = OfferError::Nonsense;
        let part = |text: &str, what| address(text).ok_or(nonsense(what));
        let provider = part(&info.provider_address, "no provider")?;
        if let Some(wanted) = wanted.filter(|wanted| *wanted != provider) {
            return Err(OfferError::Other { found: provider, wanted });
        }
        let place = Place { chain_id: info.chain_id, contract: part(&info.contract_address, "no contract")? };
        let token = part(&info.glm_token_address, "no token")?;
        let rate = u128::try_from(info.provider_rate_per_second_wei.0).ok().filter(|rate| *rate > 0);
        let rate = rate.ok_or(nonsense("no rate"))?;
        let quote = LeaseQuote {
            recipient: provider,
            deposit: info.provider_deposit_wei.0,
            rate,
            lease_id: info.lease_id.parse().map_err(|_| nonsense("no lease id"))?,
            terms_hash: info.terms_hash.parse().map_err(|_| nonsense("no terms"))?,
            expires_at: info.quote_expires_at,
        };
        if quote.lease_id.is_zero() {
            return Err(nonsense("no lease id"));
        }
        if info.min_runway_seconds != wish.duration {
            return Err(nonsense("it is for another time"));
        }
        if Some(quote.deposit) != U256::from(rate).checked_mul(U256::from(wish.duration)) {
            return Err(nonsense("its deposit is not its rate times its duration"));
        }
        let terms = wish.terms(provider, rate, (place, token), quote.lease_id);
        if terms.hash() != quote.terms_hash {
            return Err(nonsense("its terms are not what was asked for"));
        }
        let signature = hex::decode(&info.signature).ok().and_then(|bytes| bytes.try_into().ok());
        let signature: [u8; 65] = signature.ok_or(nonsense("no signature"))?;
        if signer_of_hash(quote.digest(place), &signature) != Some(provider) || provider.is_zero() {
            return Err(OfferError::Forged(provider));
        }
        let open = OpenLease { quote, signature, donation_basis_points: 0 };
        let paying = Paying {
            signed: Signed::Lease(OfferedLease { open, duration: wish.duration, image: wish.image.clone() }),
            place,
            token,
            rate,
            expires_at: info.quote_expires_at,
            // Providers do not say it: the renter's own network does.
            symbol: "tokens".to_owned(),
        };
        Ok(Self {
            provider_id: provider,
            resources: wish.resources,
            paying: Some(paying),
            usd_per_month: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use golem_types::Wallet;
    use golem_types::wire::Exact;

    use super::*;

    const PLACE: Place = Place { chain_id: 7, contract: Address::repeat_byte(9) };
    const TOKEN: Address = Address::repeat_byte(8);
    const RATE: u128 = 2_000_000;

    fn provider() -> Wallet {
        Wallet::from_bytes(&[3; 32]).unwrap()
    }

    fn wish() -> LeaseWish {
        LeaseWish {
            name: "web".parse().unwrap(),
            image: "24.04".parse().unwrap(),
            resources: Resources::new(1, 2, 10),
            duration: 7200,
            requestor: Address::repeat_byte(7),
        }
    }

    /// A lease for `wish` at `rate`, all as it has to be, signed by `signer`.
    fn signed(wish: &LeaseWish, rate: u128, signer: &Wallet) -> LeaseQuoteInfo {
        let lease_id = B256::repeat_byte(5);
        let terms = wish.terms(provider().address(), rate, (PLACE, TOKEN), lease_id);
        let quote = LeaseQuote {
            recipient: terms.provider,
            deposit: U256::from(rate) * U256::from(wish.duration),
            rate,
            lease_id,
            terms_hash: terms.hash(),
            expires_at: 1_780_000_000,
        };
        LeaseQuoteInfo {
            provider_address: quote.recipient.to_string(),
            chain_id: PLACE.chain_id,
            contract_address: PLACE.contract.to_string(),
            glm_token_address: TOKEN.to_string(),
            lease_id: format!("{lease_id:#x}"),
            terms_hash: format!("{:#x}", quote.terms_hash),
            provider_rate_per_second_wei: Exact(U256::from(rate)),
            provider_deposit_wei: Exact(quote.deposit),
            min_runway_seconds: wish.duration,
            quote_expires_at: quote.expires_at,
            reserved_until: None,
            signature: hex::encode_prefixed(quote.sign(PLACE, signer).unwrap()),
        }
    }

    fn info() -> LeaseQuoteInfo {
        signed(&wish(), RATE, &provider())
    }

    #[test]
    fn a_lease_is_believed_as_it_was_signed_and_with_no_value_changed() {
        let offer = Offer::of_lease(&info(), &wish(), Some(provider().address())).unwrap();
        let paying = offer.paying.unwrap();
        assert_eq!((paying.rate, paying.place, paying.token), (RATE, PLACE, TOKEN));
        assert_eq!(paying.deposit(2), U256::from(RATE * 7200));
        let address = || Address::repeat_byte(1).to_string();
        let bytes = || format!("{:#x}", B256::repeat_byte(6));
        let changed: [fn(&mut LeaseQuoteInfo, String, String); 12] = [
            |info, address, _| info.provider_address = address,
            |info, _, _| info.chain_id = 8,
            |info, address, _| info.contract_address = address,
            |info, address, _| info.glm_token_address = address,
            |info, _, bytes| info.lease_id = bytes,
            |info, _, bytes| info.terms_hash = bytes,
            |info, _, _| info.provider_rate_per_second_wei = Exact(U256::from(RATE - 1)),
            |info, _, _| info.provider_deposit_wei = Exact(U256::from(RATE * 7200 - 1)),
            |info, _, _| info.min_runway_seconds = 7199,
            |info, _, _| info.quote_expires_at += 1,
            |info, _, _| info.signature = format!("0x{}", "11".repeat(65)),
            |info, _, _| info.signature = "0x12".to_owned(),
        ];
        for (place, change) in changed.into_iter().enumerate() {
            let mut wrong = info();
            change(&mut wrong, address(), bytes());
            assert!(Offer::of_lease(&wrong, &wish(), None).is_err(), "{place}: {wrong:?}");
        }
        // Rate and deposit that fit each other are not what was signed.
        let mut dearer = info();
        dearer.provider_rate_per_second_wei = Exact(U256::from(RATE / 2));
        dearer.provider_deposit_wei = Exact(U256::from(RATE / 2 * 7200));
        assert!(Offer::of_lease(&dearer, &wish(), None).is_err());
        // Nor is a deposit that is more than that, whoever signed it.
        let mut more = info();
        more.provider_deposit_wei.0 += U256::ONE;
        let read = Offer::of_lease(&more, &wish(), None);
        assert!(matches!(read, Err(OfferError::Nonsense("its deposit is not its rate times its duration"))));
        let none = signed(&wish(), 0, &provider());
        assert!(matches!(Offer::of_lease(&none, &wish(), None), Err(OfferError::Nonsense("no rate"))));
        let other = Offer::of_lease(&info(), &wish(), Some(Address::repeat_byte(1)));
        assert!(matches!(other, Err(OfferError::Other { .. })));
    }

    /// What is signed for something else pays for something else, whoever signed it.
    #[test]
    fn a_lease_is_for_what_was_asked_and_signed_by_who_is_paid() {
        let forged = signed(&wish(), RATE, &Wallet::from_bytes(&[4; 32]).unwrap());
        assert!(matches!(Offer::of_lease(&forged, &wish(), None), Err(OfferError::Forged(_))));
        for other in [
            LeaseWish { name: "wee".parse().unwrap(), ..wish() },
            LeaseWish { image: "22.04".parse().unwrap(), ..wish() },
            LeaseWish { resources: Resources::new(2, 2, 10), ..wish() },
            LeaseWish { duration: 3600, ..wish() },
            LeaseWish { requestor: Address::repeat_byte(6), ..wish() },
        ] {
            let signed = signed(&other, RATE, &provider());
            let read = Offer::of_lease(&signed, &wish(), None);
            assert!(matches!(read, Err(OfferError::Nonsense(_))), "{other:?}: {read:?}");
        }
    }
}
