//! The CPUs of a machine as Linux tells of them: which are of one core, and on which NUMA node.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::{fs, io, num};

/// The folder in which Linux tells.
pub(crate) const SYSTEM: &str = "/sys/devices/system";

/// A CPU, which is a core or one of the hyperthreads of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) id: usize,
    /// Its NUMA node, where that is known.
    pub(crate) node: Option<usize>,
    /// How many hyperthreads of its core come before it.
    pub(crate) sibling: usize,
}

/// Those of the CPUs `allowed`, in ascending order, that are online. What the `system` folder does
/// not tell is taken to be so that each CPU is a core, on no node.
///
/// # Errors
/// Where files are there but not to be read, or not lists of CPUs.
pub(crate) fn cpus(system: &Path, allowed: &[usize]) -> io::Result<Vec<Cpu>> {
    let online = List::read(system.join("cpu/online"))?;
    let is_online = |cpu: &usize| online.as_ref().is_none_or(|online| online.contains(*cpu));
    let allowed: Vec<usize> = allowed.iter().copied().filter(is_online).collect();
    let nodes = nodes(system)?;
    let cpu = |id: usize| {
        let file = format!("cpu/cpu{id}/topology/thread_siblings_list");
        let siblings = List::read(system.join(file))?;
        let is_sibling = |cpu: &&usize| siblings.as_ref().is_some_and(|list| list.contains(**cpu));
        let before = allowed.iter().take_while(|cpu| **cpu < id);
        let node = nodes.iter().find(|(_, cpus)| cpus.contains(id));
        Ok(Cpu {
            id,
            node: node.map(|(number, _)| *number),
            sibling: before.filter(is_sibling).count(),
        })
    };
    allowed.iter().map(|id| cpu(*id)).collect()
}

/// The NUMA nodes with their CPUs, as far as they are known.
fn nodes(system: &Path) -> io::Result<Vec<(usize, List)>> {
    let folder = match fs::read_dir(system.join("node")) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut nodes = Vec::new();
    for entry in folder {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node"));
        let Some(number) = number.and_then(|number| number.parse().ok()) else {
            continue;
        };
        if let Some(cpus) = List::read(entry.path().join("cpulist"))? {
            nodes.push((number, cpus));
        }
    }
    Ok(nodes)
}

/// A list of CPUs, such as `0-3,8`.
struct List(Vec<RangeInclusive<usize>>);

impl List {
    /// The list in a file, if there is one.
    fn read(path: PathBuf) -> io::Result<Option<List>> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let list = List::parse(text.trim()).map_err(|_| {
            let problem = format!("{} is no list of CPUs", path.display());
            io::Error::new(io::ErrorKind::InvalidData, problem)
        });
        list.map(Some)
    }

    fn parse(text: &str) -> Result<List, num::ParseIntError> {
        let ranges = text.split(',').filter(|range| !range.is_empty());
        let ranges = ranges.map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Ok(first.parse()?..=last.parse()?)
        });
        Ok(List(ranges.collect::<Result<_, _>>()?))
    }

    fn contains(&self, cpu: usize) -> bool {
        self.0.iter().any(|range| range.contains(&cpu))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A folder like [`SYSTEM`] with these files.
    pub(crate) fn machine<'a>(
        files: impl IntoIterator<Item = (&'a str, String)>,
    ) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text + "\n").expect("a file");
        }
        folder
    }

    /// Two nodes of eight cores with two hyperthreads each; those of core `n` are the CPUs `n` and
    /// `n + 16`, as on most machines.
    pub(crate) fn two_nodes() -> tempfile::TempDir {
        let siblings: Vec<(String, String)> = (0..32)
            .map(|cpu| {
                let file = format!("cpu/cpu{cpu}/topology/thread_siblings_list");
                (file, format!("{},{}", cpu % 16, cpu % 16 + 16))
            })
            .collect();
        let siblings = siblings.iter().map(|(name, text)| (&**name, text.clone()));
        machine(siblings.chain([
            ("cpu/online", "0-31".to_owned()),
            ("node/online", "0-1".to_owned()),
            ("node/node0/cpulist", "0-7,16-23".to_owned()),
            ("node/node1/cpulist", "8-15,24-31".to_owned()),
        ]))
    }

    fn found(system: &Path, allowed: &[usize]) -> Vec<(usize, Option<usize>, usize)> {
        let cpus = cpus(system, allowed).expect("it can be read");
        let parts = cpus.iter().map(|cpu| (cpu.id, cpu.node, cpu.sibling));
        parts.collect()
    }

    #[test]
    fn cores_and_nodes_are_found_of_the_cpus_that_may_be_used() {
        let system = two_nodes();
        let all: Vec<usize> = (0..32).collect();
        let cpus = found(system.path(), &all);
        for (id, node, sibling) in &cpus {
            assert_eq!((*node, *sibling), (Some(id % 16 / 8), id / 16), "{id}");
        }
        assert_eq!(cpus.len(), 32);
        // Of a core with one CPU that may be used, that is the first.
        let some = [0, 15, 16, 17];
        let wanted = [
            (0, Some(0), 0),
            (15, Some(1), 0),
            (16, Some(0), 1),
            (17, Some(0), 0),
        ];
        assert_eq!(found(system.path(), &some), wanted);
    }

    #[test]
    fn cpus_that_are_offline_are_left_out() {
        let system = machine([
            ("cpu/online", "0,2-3".to_owned()),
            ("node/node0/cpulist", "0,2-3".to_owned()),
            // A node of memory alone.
            ("node/node1/cpulist", String::new()),
        ]);
        let wanted = [(0, Some(0), 0), (2, Some(0), 0), (3, Some(0), 0)];
        assert_eq!(found(system.path(), &[0, 1, 2, 3]), wanted);
    }

    #[test]
    fn where_nothing_is_told_each_cpu_is_a_core_on_no_node() {
        let system = machine([]);
        assert_eq!(found(system.path(), &[0, 5]), [(0, None, 0), (5, None, 0)]);
        // Nodes may be left out alone, or have no list.
        let system = machine([
            ("cpu/cpu1/topology/thread_siblings_list", "0-1".to_owned()),
            ("node/node0/meminfo", String::new()),
        ]);
        assert_eq!(found(system.path(), &[0, 1]), [(0, None, 0), (1, None, 1)]);
    }

    #[test]
    fn what_is_no_list_is_an_error_that_names_the_file() {
        for list in ["0-", "one", "0-1-2", "-1", "99999999999999999999999"] {
            let system = machine([("node/node0/cpulist", list.to_owned())]);
            let error = cpus(system.path(), &[0]).expect_err(list);
            assert!(error.to_string().contains("node0/cpulist"), "{error}");
        }
    }
}
