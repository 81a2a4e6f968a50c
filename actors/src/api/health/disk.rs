//! Whether a directory's disk takes what is written, asked without writing: an idle edge wears no flash out.

use super::Finding;
use std::path::{Path, PathBuf};

/// With less, the next commit may fail: a store grows its file in steps, and others write here too.
const FREE_BYTES_MIN: u64 = 256 * 1024;

/// For [`super::Health::needs_apart`]. A disk that hangs holds one thread of the blocking pool and nobody else.
pub async fn writable(dir: PathBuf) -> Finding {
    let look = tokio::task::spawn_blocking(move || look(&dir));
    look.await.unwrap_or_else(|error| Err(format!("looking at it failed: {error}")))
}

fn look(dir: &Path) -> Finding {
    use rustix::fs::StatVfsMountFlags;
    let shown = dir.display();
    let disk = rustix::fs::statvfs(dir).map_err(|why| format!("{shown}: {why}"))?;
    if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(format!("{shown} is mounted read-only; look for disk errors in the system's log"));
    }
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < FREE_BYTES_MIN {
        return Err(format!("{shown} is full: {free} B of free space, {FREE_BYTES_MIN} B are needed; make room there"));
    }
    Ok(format!("{} MiB free", free >> 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_with_room_is_writable_and_one_that_is_gone_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(writable(dir.path().to_owned()).await.expect("has room").ends_with("MiB free"));
        let gone = writable(dir.path().join("gone")).await.expect_err("is not there");
        assert!(gone.contains("gone: No such file"), "{gone}");
    }

    #[tokio::test]
    async fn a_file_system_that_nobody_can_write_to_is_told() {
        let read_only = writable("/proc".into()).await;
        // Some containers mount it read-only; it never has a free block.
        assert!(read_only.expect_err("it takes no file").starts_with("/proc is "));
    }
}
