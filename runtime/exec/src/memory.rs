//! Memory of the machine and of this process, as Linux reports them: to refuse what cannot fit before anything is allocated.

use crate::backend::ExecError;
use std::path::{Path, PathBuf};

/// Memory that this process may use, limits of its control groups included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that can still be had without swapping.
    pub available: u64,
}

impl Machine {
    /// This machine; `None` where the system does not tell.
    pub fn here() -> Option<Machine> {
        Self::under(Path::new("/"))
    }

    fn under(root: &Path) -> Option<Machine> {
        let meminfo = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
        let (total, available) = (kilobytes(&meminfo, "MemTotal:")?, kilobytes(&meminfo, "MemAvailable:")?);
        let mut machine = Machine { total, available };
        for group in groups(root) {
            let Some(limit) = number(&group.folder.join(group.limit)) else { continue };
            let used = number(&group.folder.join(group.usage)).unwrap_or(0).saturating_sub(reclaimable(&group.folder, group.cache));
            machine.total = machine.total.min(limit);
            machine.available = machine.available.min(limit.saturating_sub(used));
        }
        Some(machine)
    }
}

/// Refuses what needs more memory than is available. Passes where the system does not tell.
///
/// # Errors
/// `ExecError::Memory`.
pub fn ensure(needed: u64) -> Result<(), ExecError> {
    match Machine::here() {
        Some(Machine { available, .. }) if needed > available => Err(ExecError::Memory { needed, available }),
        _ => Ok(()),
    }
}

/// Most bytes of this process that were ever in memory at once.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Bytes of this process that are in memory now.
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

fn status(field: &str) -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, field)
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A control group and the names of its files.
struct Group {
    folder: PathBuf,
    limit: &'static str,
    usage: &'static str,
    cache: &'static str,
}

/// This process's control groups and all around them, of either version.
fn groups(root: &Path) -> Vec<Group> {
    let Ok(text) = std::fs::read_to_string(root.join("proc/self/cgroup")) else { return Vec::new() };
    let mut groups = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (top, limit, usage, cache) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
            c if c.split(',').any(|c| c == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            }
            _ => continue,
        };
        let own = Path::new(path.trim_start_matches('/'));
        // Inside a container the path may be that of the host and the limits lie at the top; every ancestor is looked at.
        groups.extend(own.ancestors().map(|p| Group { folder: root.join(top).join(p), limit, usage, cache }));
    }
    groups
}

/// A byte count in a file; `None` where there is none ("max").
fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Cached file pages that the group gives back under pressure.
fn reclaimable(folder: &Path, field: &str) -> u64 {
    let Ok(text) = std::fs::read_to_string(folder.join("memory.stat")) else { return 0 };
    text.lines().find_map(|l| l.strip_prefix(field)?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = ("proc/meminfo", "MemTotal:       8000 kB\nMemFree: 1 kB\nMemAvailable:   6000 kB\n");

    fn machine(files: &[(&str, &str)]) -> Option<Machine> {
        Machine::under(tree(files).path())
    }

    #[test]
    fn a_machine_without_groups_has_what_the_kernel_says() {
        assert_eq!(machine(&[MEMINFO]), Some(Machine { total: 8000 << 10, available: 6000 << 10 }));
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[("proc/meminfo", "MemTotal: many kB")]), None);
    }

    #[test]
    fn the_tightest_group_around_the_process_limits_it() {
        let found = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/memory.max", "4096000\n"),
            ("sys/fs/cgroup/outer/memory.current", "3000000\n"),
            ("sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 1000000\n"),
        ]);
        assert_eq!(found, Some(Machine { total: 4_096_000, available: 2_096_000 }));
    }

    #[test]
    fn groups_of_the_first_version_count_too() {
        let found = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/job\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000000"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "500000"),
        ]);
        assert_eq!(found, Some(Machine { total: 2_000_000, available: 1_500_000 }));
    }

    #[test]
    fn what_cannot_fit_is_refused() {
        let refused = ensure(u64::MAX);
        assert!(Machine::here().is_none() || matches!(refused, Err(ExecError::Memory { needed: u64::MAX, .. })));
        assert!(ensure(1).is_ok());
    }

    #[test]
    fn the_peak_is_no_less_than_what_was_resident_before() {
        // Taken in this order, so that what other threads allocate in between can only raise the peak; the kernel's own counters
        // may be behind by some pages of each CPU.
        let before = resident().unwrap_or(0);
        assert!(peak().unwrap_or(u64::MAX) + (4 << 20) >= before);
    }
}
