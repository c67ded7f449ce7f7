//! Whether VMs may be rented out on what runs their CPUs.
//!
//! Owns that one judgement and how it is told. Never looks at the host: the backend does.

use golem_vm::{Accelerator, Backend, BackendError};

use crate::vm::Refusal;

/// Says what runs the guests' CPUs, and why no new rentals are taken where that is not enough:
/// translation is no security boundary, and who pays with real money brings something to lose, and
/// strangers who look for it, unless `allow_tcg`. VMs that are rented already run on.
///
/// # Errors
/// As [`Backend::acceleration`].
pub async fn judge(
    backend: &Backend,
    real_money: bool,
    allow_tcg: bool,
) -> Result<Option<Refusal>, BackendError> {
    let Some(found) = backend.acceleration().await? else { return Ok(None) };
    if found.accelerator == Accelerator::Kvm {
        tracing::info!("guests run on KVM");
        return Ok(None);
    }
    let reason = found.problem.as_deref().unwrap_or("GOLEM_PROVIDER_VM_ACCEL=tcg");
    if real_money && !allow_tcg {
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
