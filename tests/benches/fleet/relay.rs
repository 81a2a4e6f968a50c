//! The relay that is measured: its own process, as it is shipped, with its files on the disk of the target directory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::harness::{Cluster, Operator, Plan, process};

const NAME: &str = "hub";
/// For what a start leaves to do, before its memory is that of an idle relay.
const SETTLES: Duration = Duration::from_secs(5);
const LISTENS_WITHIN: Duration = Duration::from_secs(30);

pub struct Relay {
    site: Cluster,
    dir: PathBuf,
}

impl Relay {
    /// In a directory that is made anew.
    pub async fn start(seed: u64, dir: &Path) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", dir.display());
        if dir.exists() {
            std::fs::remove_dir_all(dir).map_err(failed)?;
        }
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut site = Plan::in_dir(seed, dir).relay(NAME).start();
        site.ready().await;
        tokio::time::sleep(SETTLES).await;
        Ok(Self { site, dir: dir.to_owned() })
    }

    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca")
    }

    pub fn port(&self) -> u16 {
        self.site.node(NAME).quic_port.expect("a relay listens")
    }

    pub fn operator(&self) -> Operator {
        self.site.operator()
    }

    pub fn cpu_time(&self) -> Result<Duration, String> {
        process::cpu_time(self.pid()?)
    }

    pub fn rss_kib(&self) -> Result<u64, String> {
        process::rss_kib(self.pid()?)
    }

    pub fn kill(&mut self) {
        self.site.node_mut(NAME).kill();
    }

    /// Returns when its port is bound, with that moment.
    pub async fn start_again(&mut self) -> Instant {
        const LOOK_EVERY: Duration = Duration::from_millis(2);
        self.site.node_mut(NAME).start();
        let began = Instant::now();
        while !process::listens_on_udp(self.port()) {
            assert!(began.elapsed() < LISTENS_WITHIN, "the relay does not listen\n{}", self.site.tails());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Instant::now()
    }

    fn pid(&self) -> Result<u32, String> {
        self.site.node(NAME).pid().ok_or_else(|| "the relay is not running".to_owned())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.site.node_mut(NAME).kill();
        // A gigabyte of events that nobody reads.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
