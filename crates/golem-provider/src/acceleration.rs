//! Whether VMs may be rented out on what runs their CPUs.
//!
//! Owns that one judgement and how it is told. Never looks at the host: the backend does.

use golem_chain::network::PaymentNetwork;
use golem_node::Refusal;
use golem_vm::Accelerator;
use golem_vm::Backend;

use crate::settings::Settings;

/// Says what runs the guests' CPUs, and why no new rentals are taken where that is not enough:
/// translation is no security boundary, and who pays with real money brings something to lose, and
/// strangers who look for it. VMs that are rented already run on.
///
/// # Errors
/// As [`Backend::acceleration`].
pub(crate) async fn judge(
    settings: &Settings,
    backend: &Backend,
    payments: Option<&PaymentNetwork>,
) -> anyhow::Result<Option<Refusal>> {
    let Some(found) = backend.acceleration().await? else { return Ok(None) };
    if found.accelerator == Accelerator::Kvm {
        tracing::info!("guests run on KVM");
        return Ok(None);
    }
    let reason = found.problem.as_deref().unwrap_or("GOLEM_PROVIDER_VM_ACCEL=tcg");
    let real_money = payments.is_some_and(|profile| !profile.network.testnet);
    if real_money && !settings.allow_tcg {
        tracing::error!(
            reason,
            "guests run without hardware virtualization, which is no security boundary, and rentals are paid with \
             real money: no new rentals are taken; fix the reason, or set GOLEM_PROVIDER_ALLOW_TCG=true"
        );
        return Ok(Some(Refusal::NotIsolated));
    }
    tracing::warn!(
        reason,
        "guests run without hardware virtualization (TCG): slow, and no security boundary"
    );
    Ok(None)
}
