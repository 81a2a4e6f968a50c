//! Sums: what the nodes come to, of the site and of each of its tenants.

use protocol::admin::HealthState;
use protocol::telemetry::Telemetry;
use protocol::{Identity, Role, TenantId};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Sums {
    pub site: Sum,
    pub tenants: BTreeMap<TenantId, Sum>,
    #[serde(skip)]
    roles: BTreeMap<(Role, HealthState), u64>,
    #[serde(skip)]
    spool_oldest_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Sum {
    pub healthy: u64,
    pub degraded: u64,
    pub down: u64,
    pub cameras_on_line: u64,
    /// Blind, or of a node that is down: nobody knows what they see.
    pub cameras_off_line: u64,
    /// Entries that wait on edges, as last told.
    pub spool_waiting: u64,
}

impl Sums {
    pub fn of<'a>(nodes: impl Iterator<Item = (&'a Identity, HealthState, Option<&'a Telemetry>)>) -> Self {
        let mut sums = Self::default();
        for (id, state, telemetry) in nodes {
            let one = Sum::of(state, telemetry);
            sums.site.add(&one);
            sums.tenant(&id.tenant).add(&one);
            *sums.roles.entry((id.role, state)).or_default() += 1;
            let spool = telemetry.and_then(|telemetry| telemetry.spool).filter(|_| state != HealthState::Down);
            sums.spool_oldest_ms = sums.spool_oldest_ms.max(spool.map_or(0, |spool| spool.oldest_ms));
        }
        sums
    }

    fn tenant(&mut self, tenant: &TenantId) -> &mut Sum {
        // The name is copied for a tenant's first node alone.
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.clone(), Sum::default());
        }
        self.tenants.get_mut(tenant).expect("it was put there above")
    }

    /// As metrics. Each role and state that there may be has its series, so that the last node that leaves one shows 0.
    pub fn show(&self) {
        for role in [Role::Edge, Role::Relay, Role::Gpu] {
            for state in HealthState::ALL {
                let nodes = self.roles.get(&(role, state)).copied().unwrap_or(0);
                metrics::gauge!("watchtree_fleet_nodes", "role" => role.as_str(), "state" => state.as_str())
                    .set(nodes as f64);
            }
        }
        metrics::gauge!("watchtree_fleet_cameras", "state" => "on_line").set(self.site.cameras_on_line as f64);
        metrics::gauge!("watchtree_fleet_cameras", "state" => "off_line").set(self.site.cameras_off_line as f64);
        metrics::gauge!("watchtree_fleet_spool_waiting").set(self.site.spool_waiting as f64);
        metrics::gauge!("watchtree_fleet_spool_oldest_seconds").set(self.spool_oldest_ms as f64 / 1e3);
    }
}

impl Sum {
    fn of(state: HealthState, telemetry: Option<&Telemetry>) -> Self {
        let mut sum = Self::default();
        match state {
            HealthState::Healthy => sum.healthy = 1,
            HealthState::Degraded => sum.degraded = 1,
            HealthState::Down => sum.down = 1,
        }
        let Some(telemetry) = telemetry else { return sum };
        let sees = |on_line: bool| on_line && state != HealthState::Down;
        sum.cameras_on_line = telemetry.cameras.iter().filter(|camera| sees(camera.on_line)).count() as u64;
        sum.cameras_off_line = telemetry.cameras.len() as u64 - sum.cameras_on_line;
        sum.spool_waiting = telemetry.spool.map_or(0, |spool| spool.waiting);
        sum
    }

    fn add(&mut self, other: &Self) {
        self.healthy += other.healthy;
        self.degraded += other.degraded;
        self.down += other.down;
        self.cameras_on_line += other.cameras_on_line;
        self.cameras_off_line += other.cameras_off_line;
        self.spool_waiting += other.spool_waiting;
    }

    /// For the tree.
    pub fn line(&self) -> String {
        format!("{} healthy, {} degraded, {} down", self.healthy, self.degraded, self.down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::samples::{id, telemetry};
    use protocol::Timestamp;

    #[test]
    fn nodes_add_up_for_their_tenant_and_for_the_site() {
        let told = telemetry(Timestamp::from_micros(0));
        let mut blind = told.clone();
        blind.cameras[0].on_line = false;
        let ids = ["main/relay/hub", "main/edge/yard", "main/edge/barn", "acme/edge/shed"].map(id);
        let nodes = [
            (&ids[0], HealthState::Healthy, None),
            (&ids[1], HealthState::Healthy, Some(&told)),
            (&ids[2], HealthState::Down, Some(&told)),
            (&ids[3], HealthState::Degraded, Some(&blind)),
        ];
        let sums = Sums::of(nodes.into_iter());
        let site = Sum {
            healthy: 2,
            degraded: 1,
            down: 1,
            cameras_on_line: 1,
            // One is blind, and of the barn's nobody knows.
            cameras_off_line: 2,
            spool_waiting: 9,
        };
        assert_eq!(sums.site, site);
        assert_eq!(sums.site.line(), "2 healthy, 1 degraded, 1 down");
        let acme = &sums.tenants[&ids[3].tenant];
        assert_eq!((sums.tenants.len(), acme.degraded, acme.cameras_off_line, acme.healthy), (2, 1, 1, 0));
    }
}
