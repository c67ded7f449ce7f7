//! Rentals as they are shown: what is remembered, and what the provider and the chain say now.
//!
//! Owns the JSON that programs read. A provider or a chain that does not answer is told in it, and is no error. Never
//! prints.

use std::path::Path;

use futures_util::future::join_all;
use golem_chain::Version;
use golem_chain::contract::v4;
use golem_types::wire::Exact;
use golem_types::{Resources, Stream, VmId};
use jiff::Timestamp;
use serde::Serialize;

use super::Renter;
use super::payments::stream_of;
use super::provider::{Provider, ProviderError, VmStanding};
use super::rental::{Rental, RentalStep};
use super::store::Store;

/// A rental for programs.
#[derive(Debug, Serialize)]
pub struct RentalView {
    pub name: String,
    /// The VM's status at the provider; or how far the rental is, while there is no VM.
    pub status: String,
    /// Why it is so, or why that is not known.
    pub problem: Option<String>,
    pub provider_id: String,
    pub provider_url: String,
    pub vm_id: Option<VmId>,
    pub resources: Resources,
    pub ssh: Option<LoginView>,
    pub payment: Option<PaidView>,
    pub created_at: Timestamp,
}

/// How to log in.
#[derive(Debug, Serialize)]
pub struct LoginView {
    pub host: String,
    pub port: u16,
    /// What to type.
    pub command: String,
}

/// How a rental is paid for.
#[derive(Debug, Serialize)]
pub struct PaidView {
    pub network: String,
    /// The version of the payment contract.
    pub contract_version: Version,
    pub symbol: String,
    pub decimals: u8,
    pub stream_id: Option<Exact>,
    pub rate_wei_per_second: Exact,
    pub deposit_wei: Exact,
    pub gas_wei: Exact,
    /// A transaction whose fate is not known.
    pub pending: Option<String>,
    /// What the chain says; `None` if it was not asked, or does not answer.
    pub stream: Option<PaidStreamView>,
}

/// A stream as the chain has it.
#[derive(Debug, Serialize)]
pub struct PaidStreamView {
    pub remaining_seconds: Exact,
    pub vested_wei: Exact,
    /// What would come back now.
    pub refundable_wei: Exact,
    /// Whether it was ended or frozen.
    pub ended: bool,
}

/// Host and port of the VM's SSH server. The host is the one at which the provider was reached: what a
/// provider says of its own address may be an address inside.
#[must_use]
pub fn host_and_port(rental: &Rental) -> Option<(String, u16)> {
    let url: golem_service::http::Url = rental.provider_url.parse().ok()?;
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((host, rental.ssh_port?))
}

/// The name under which ssh remembers the VM's key.
#[must_use]
pub fn host_key_alias(rental: &Rental) -> &str {
    rental.vm_id.as_ref().map_or(rental.name.as_str(), VmId::redacted)
}

/// A login without this program, as a line for a shell.
fn ssh_command(
    identity: Option<&Path>,
    known_hosts: &Path,
    alias: &str,
    (user, host, port): (&str, &str, u16),
) -> String {
    // Only a byte of zero cannot be quoted, and no path has one.
    let quoted = |text: &str| shlex::try_quote(text).unwrap_or_default().into_owned();
    let known = known_hosts.display().to_string();
    // ssh itself splits this value at white space.
    let known = if known.contains(char::is_whitespace) { format!("\"{known}\"") } else { known };
    let key = identity.map(|file| format!("-i {} ", quoted(&file.display().to_string())));
    format!(
        "ssh {}-o StrictHostKeyChecking=accept-new -o HostKeyAlias={alias} -o UserKnownHostsFile={} -p {port} {user}@{host}",
        key.unwrap_or_default(),
        quoted(&known)
    )
}

impl RentalView {
    /// What is remembered.
    #[must_use]
    pub fn of(store: &Store, rental: &Rental) -> Self {
        let ssh = host_and_port(rental).map(|(host, port)| {
            let alias = host_key_alias(rental);
            let identity = rental.identity.as_deref();
            let command =
                ssh_command(identity, &store.path("known_hosts"), alias, (rental.ssh_user(), &host, port));
            LoginView { host, port, command }
        });
        let payment = rental.payment.as_ref().map(|payment| PaidView {
            network: payment.network.clone(),
            contract_version: payment.version(),
            symbol: payment.symbol.clone(),
            decimals: payment.decimals,
            stream_id: payment.stream_id,
            rate_wei_per_second: payment.rate,
            deposit_wei: payment.deposit,
            gas_wei: payment.gas,
            pending: payment
                .pending
                .as_ref()
                .and_then(|pending| pending.attempts.last())
                .map(|attempt| attempt.signed.hash.to_string()),
            stream: None,
        });
        Self {
            name: rental.name.to_string(),
            status: if rental.ssh_port.is_some() { "running" } else { rental.step.as_str() }.to_owned(),
            problem: None,
            provider_id: rental.provider_id.to_string(),
            provider_url: rental.provider_url.clone(),
            vm_id: rental.vm_id.clone(),
            resources: rental.resources,
            ssh,
            payment,
            created_at: rental.created_at,
        }
    }

    /// With what the provider says.
    fn with(mut self, step: RentalStep, seen: Option<Result<VmStanding, ProviderError>>) -> Self {
        match seen {
            Some(Ok(seen)) => (self.status, self.problem) = (seen.status.to_string(), seen.error_message),
            Some(Err(ProviderError::Refused { status: 404, .. })) => {
                "gone".clone_into(&mut self.status);
                self.problem = Some("the provider does not know it any more".to_owned());
            }
            Some(Err(error)) => {
                "unknown".clone_into(&mut self.status);
                self.problem = Some(error.to_string());
            }
            None if step != RentalStep::Rented => {
                self.problem = Some("cut off; create it again to go on, or destroy it to undo".to_owned());
            }
            None => {}
        }
        self
    }
}

async fn ask(renter: &Renter<'_>, rental: &Rental) -> Option<Result<VmStanding, ProviderError>> {
    let id = rental.reference()?;
    match Provider::of(renter, rental) {
        Ok(provider) => Some(provider.vm(id).await),
        Err(error) => Some(Err(error)),
    }
}

/// All `rentals`, with what their providers say, who are asked at once.
pub async fn all(renter: &Renter<'_>, rentals: &[Rental]) -> Vec<RentalView> {
    let seen = join_all(rentals.iter().map(|rental| ask(renter, rental))).await;
    rentals
        .iter()
        .zip(seen)
        .map(|(rental, seen)| RentalView::of(renter.store, rental).with(rental.step, seen))
        .collect()
}

/// One rental, with what its provider and the chain say.
pub async fn closely(renter: &Renter<'_>, rental: &Rental) -> RentalView {
    let mut shown = RentalView::of(renter.store, rental).with(rental.step, ask(renter, rental).await);
    match stream_of(renter, rental).await {
        Ok(Some((stream, now))) => {
            if let Some(payment) = &mut shown.payment {
                payment.stream = Some(PaidStreamView::of(&stream, now));
            }
        }
        Ok(None) => {}
        Err(error) => shown.problem = Some(format!("{error:#}")),
    }
    shown
}

impl PaidStreamView {
    fn of(stream: &Stream, now: u128) -> Self {
        let is_expired = stream.lease.is_some() && v4::state(stream, now) == "expired";
        let ended = stream.recipient.is_zero() || stream.halted || is_expired;
        let refundable = if stream.recipient.is_zero() {
            Exact::default()
        } else {
            Exact(stream.deposit.saturating_sub(stream.vested(now)))
        };
        Self {
            remaining_seconds: if ended { Exact::default() } else { stream.remaining_seconds(now).into() },
            vested_wei: Exact(stream.vested(now)),
            refundable_wei: refundable,
            ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_is_one_line_for_a_shell_whatever_the_home_is_called() {
        let command = |home: &str| {
            let home = Path::new(home);
            ssh_command(Some(&home.join("id")), &home.join("known"), "web", ("ubuntu", "192.0.2.7", 50800))
        };
        assert_eq!(
            command("/home/ann"),
            "ssh -i /home/ann/id -o StrictHostKeyChecking=accept-new -o HostKeyAlias=web \
             -o UserKnownHostsFile=/home/ann/known -p 50800 ubuntu@192.0.2.7"
        );
        let words = shlex::split(&command("/Users/Ann B; $(x)")).unwrap();
        assert_eq!(words[2], "/Users/Ann B; $(x)/id");
        assert!(words.contains(&"UserKnownHostsFile=\"/Users/Ann B; $(x)/known\"".to_owned()), "{words:?}");
    }
}
