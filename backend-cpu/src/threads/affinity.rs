//! On which CPUs the threads of a pool compute, where that was asked for.

use std::io;
use std::path::Path;

#[cfg(target_os = "linux")]
use rustix::thread::CpuSet;

use super::topology::{self, Cpu};

/// On which CPUs threads compute; on any that the caller may use, by default. It changes no bit of
/// a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Each thread has a CPU of its own.
    pub pin: bool,
    /// What NUMA nodes are to threads.
    pub numa: Option<Numa>,
}

/// What NUMA nodes are to threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numa {
    /// As many threads on each node, each with a CPU of its own.
    Distribute,
    /// All threads are on the node that the caller runs on when the threads are started.
    Isolate,
}

/// Why threads cannot be where they were asked to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AffinityError {
    #[error("choosing CPUs for threads: {0}")]
    System(io::Error),
    #[error("this system tells of no NUMA nodes (/sys/devices/system/node) for its CPUs")]
    NoNodes,
    #[error("{threads} threads cannot have a CPU each: {available} {}", match isolated {
        true => "of this process are on the node that it runs on",
        false => "are there for this process",
    })]
    TooFew {
        threads: usize,
        available: usize,
        isolated: bool,
    },
}

/// The CPUs among which those of threads are chosen.
pub(crate) struct Places {
    affinity: Affinity,
    cpus: Vec<Cpu>,
}

impl Places {
    /// Those that the caller may use and that are as `affinity` asks; `None` where it asks for
    /// nothing.
    pub(crate) fn find(affinity: Affinity) -> Result<Option<Places>, AffinityError> {
        if affinity == Affinity::default() {
            return Ok(None);
        }
        let (allowed, here) = allowed()?;
        let places = Places::of(affinity, Path::new(topology::SYSTEM), &allowed, here)?;
        Ok(Some(places))
    }

    fn of(
        affinity: Affinity,
        system: &Path,
        allowed: &[usize],
        here: usize,
    ) -> Result<Places, AffinityError> {
        let mut cpus = topology::cpus(system, allowed).map_err(AffinityError::System)?;
        if let Some(numa) = affinity.numa {
            let node = |id| {
                cpus.iter()
                    .find(|cpu| cpu.id == id)
                    .and_then(|cpu| cpu.node)
            };
            let here = node(here);
            cpus.retain(|cpu| match numa {
                Numa::Distribute => cpu.node.is_some(),
                Numa::Isolate => cpu.node.is_some() && cpu.node == here,
            });
            if cpus.is_empty() {
                return Err(AffinityError::NoNodes);
            }
        }
        Ok(Places { affinity, cpus })
    }

    /// How many CPUs there are.
    pub(crate) fn count(&self) -> usize {
        self.cpus.len()
    }

    /// How the devices of programs are called that compute there.
    pub(crate) fn name(&self) -> &'static str {
        match (self.affinity.pin, self.affinity.numa) {
            (true, Some(Numa::Isolate)) => "pinned on one NUMA node",
            (false, Some(Numa::Isolate)) => "on one NUMA node",
            (_, Some(Numa::Distribute)) => "pinned over all NUMA nodes",
            (_, None) => "pinned",
        }
    }

    /// The CPUs of each of the first `computing` of `threads` threads; the others never compute.
    pub(crate) fn deal(
        &self,
        threads: usize,
        computing: usize,
    ) -> Result<Vec<Vec<usize>>, AffinityError> {
        let isolated = self.affinity.numa == Some(Numa::Isolate);
        if isolated && !self.affinity.pin {
            let all: Vec<usize> = self.cpus.iter().map(|cpu| cpu.id).collect();
            return Ok(vec![all; computing]);
        }
        if threads > self.count() {
            return Err(AffinityError::TooFew {
                threads,
                available: self.count(),
                isolated,
            });
        }
        let mut cpus = self.cpus.clone();
        match self.affinity.numa {
            // One from each node, as often as it takes.
            Some(Numa::Distribute) => {
                cpus.sort_by_key(|cpu| (cpu.node, cpu.sibling, cpu.id));
                let turn = |n: usize| {
                    let before = cpus[..n].iter();
                    before.filter(|cpu| cpu.node == cpus[n].node).count()
                };
                let mut turns: Vec<usize> = (0..cpus.len()).collect();
                turns.sort_by_key(|n| turn(*n));
                cpus = turns.into_iter().map(|n| cpus[n]).collect();
            }
            // Cores of as few nodes as there can be, then the second hyperthreads of cores.
            _ => cpus.sort_by_key(|cpu| (cpu.sibling, cpu.node, cpu.id)),
        }
        cpus.truncate(computing);
        // Neighbours have adjacent pieces, and the first compute where not all do.
        cpus.sort_by_key(|cpu| (cpu.node, cpu.sibling, cpu.id));
        Ok(cpus.iter().map(|cpu| vec![cpu.id]).collect())
    }
}

/// The CPUs that the caller may use, in ascending order, and the one that it runs on.
#[cfg(target_os = "linux")]
fn allowed() -> Result<(Vec<usize>, usize), AffinityError> {
    let set = rustix::thread::sched_getaffinity(None);
    let set = set.map_err(|error| AffinityError::System(error.into()))?;
    let allowed = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
    Ok((allowed.collect(), rustix::thread::sched_getcpu()))
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Result<(Vec<usize>, usize), AffinityError> {
    Err(AffinityError::System(no_linux()))
}

#[cfg(not(target_os = "linux"))]
fn no_linux() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "it takes Linux")
}

/// Confines the calling thread to `cpus`.
#[cfg(target_os = "linux")]
pub(crate) fn confine(cpus: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn confine(_cpus: &[usize]) -> io::Result<()> {
    Err(no_linux())
}

/// A thread that is confined to some CPUs until it drops this.
pub(crate) struct Confined {
    #[cfg(target_os = "linux")]
    before: CpuSet,
}

impl Confined {
    /// Confines the calling thread to `cpus`.
    pub(crate) fn to(cpus: &[usize]) -> io::Result<Confined> {
        #[cfg(target_os = "linux")]
        let before = rustix::thread::sched_getaffinity(None)?;
        confine(cpus)?;
        Ok(Confined {
            #[cfg(target_os = "linux")]
            before,
        })
    }
}

#[cfg(target_os = "linux")]
impl Drop for Confined {
    fn drop(&mut self) {
        // Where the system has taken these CPUs away meanwhile, it has chosen others itself.
        let _ = rustix::thread::sched_setaffinity(None, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::topology::tests::{machine, two_nodes};

    const PIN: Affinity = Affinity {
        pin: true,
        numa: None,
    };

    const DISTRIBUTE: Affinity = Affinity {
        pin: false,
        numa: Some(Numa::Distribute),
    };

    const ISOLATE: Affinity = Affinity {
        pin: false,
        numa: Some(Numa::Isolate),
    };

    /// The CPUs of so many threads, one each, of [`two_nodes`].
    fn dealt(affinity: Affinity, allowed: &[usize], threads: usize) -> Vec<usize> {
        let system = two_nodes();
        let places = Places::of(affinity, system.path(), allowed, allowed[0]);
        let places = places.expect("CPUs are found");
        let dealt = places.deal(threads, threads).expect("there are as many");
        assert!(dealt.iter().all(|cpus| cpus.len() == 1));
        dealt.concat()
    }

    fn all() -> Vec<usize> {
        (0..32).collect()
    }

    fn joined(ranges: &[std::ops::Range<usize>]) -> Vec<usize> {
        ranges.iter().cloned().flatten().collect()
    }

    #[test]
    fn pinned_threads_have_cores_of_their_own_on_as_few_nodes_as_there_can_be() {
        assert_eq!(dealt(PIN, &all(), 3), [0, 1, 2]);
        assert_eq!(dealt(PIN, &all(), 10), joined(&[0..8, 8..10]));
        // The second hyperthreads come when no core is left, and neighbours are on one node.
        assert_eq!(dealt(PIN, &all(), 18), joined(&[0..8, 16..18, 8..16]));
        let everything = joined(&[0..8, 16..24, 8..16, 24..32]);
        assert_eq!(dealt(PIN, &all(), 32), everything);
        // Others than these may not be used.
        assert_eq!(dealt(PIN, &[3, 12, 19, 28], 2), [3, 12]);
        assert_eq!(dealt(PIN, &[3, 12, 19, 28], 3), [3, 19, 12]);
    }

    #[test]
    fn threads_are_dealt_out_evenly_over_the_nodes() {
        assert_eq!(dealt(DISTRIBUTE, &all(), 1), [0]);
        assert_eq!(dealt(DISTRIBUTE, &all(), 2), [0, 8]);
        assert_eq!(dealt(DISTRIBUTE, &all(), 5), [0, 1, 2, 8, 9]);
        assert_eq!(dealt(DISTRIBUTE, &all(), 16), joined(&[0..8, 8..16]));
        let more = joined(&[0..8, 16..17, 8..16, 24..25]);
        assert_eq!(dealt(DISTRIBUTE, &all(), 18), more);
        // A node that has too few has all it can have.
        assert_eq!(dealt(DISTRIBUTE, &joined(&[0..8, 8..9]), 4), [0, 1, 2, 8]);
    }

    #[test]
    fn isolated_threads_are_on_the_node_that_the_caller_runs_on() {
        let system = two_nodes();
        let places = |affinity, here| Places::of(affinity, system.path(), &all(), here).unwrap();
        let second = joined(&[8..16, 24..32]);
        let places_there = places(ISOLATE, 25);
        assert_eq!(places_there.count(), 16);
        // Several share its CPUs, more than there are if need be.
        let shared = vec![second.clone(); 16];
        assert_eq!(places_there.deal(40, 16).unwrap(), shared);
        let pinned = Affinity {
            pin: true,
            ..ISOLATE
        };
        let dealt = places(pinned, 25).deal(16, 16).unwrap().concat();
        assert_eq!(dealt, second);
        let error = places(pinned, 25).deal(17, 16).unwrap_err().to_string();
        assert!(
            error.contains("17 threads") && error.contains("16 of"),
            "{error}"
        );
    }

    #[test]
    fn more_threads_than_cpus_are_an_error_that_says_how_many_there_are() {
        let system = two_nodes();
        let places = Places::of(PIN, system.path(), &[1, 2, 3], 1).unwrap();
        let error = places.deal(4, 3).unwrap_err().to_string();
        assert!(
            error.contains("4 threads") && error.contains("3 are"),
            "{error}"
        );
        // A quota lets fewer compute, of which each has a CPU.
        assert_eq!(places.deal(3, 2).unwrap(), [[1], [2]]);
    }

    #[test]
    fn nodes_that_nobody_tells_of_are_an_error_where_they_are_asked_for() {
        let unknown = machine([]);
        // A node that none of the CPUs is on.
        let elsewhere = machine([("node/node0/cpulist", "4-7".to_owned())]);
        for system in [unknown, elsewhere] {
            for affinity in [DISTRIBUTE, ISOLATE] {
                let places = Places::of(affinity, system.path(), &[0, 1], 0);
                assert!(matches!(places, Err(AffinityError::NoNodes)));
            }
            let places = Places::of(PIN, system.path(), &[0, 1], 0).unwrap();
            assert_eq!(places.deal(2, 2).unwrap(), [[0], [1]]);
        }
        // One node is one.
        let one = machine([("node/node0/cpulist", "0-1".to_owned())]);
        let places = Places::of(DISTRIBUTE, one.path(), &[0, 1], 0).unwrap();
        assert_eq!(places.deal(2, 2).unwrap(), [[0], [1]]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no CPUs to choose")]
    fn a_thread_is_confined_and_free_again() {
        let (before, _) = allowed().unwrap();
        let confined = Confined::to(&before[..1]).unwrap();
        assert_eq!(allowed().unwrap(), (before[..1].to_vec(), before[0]));
        drop(confined);
        assert_eq!(allowed().unwrap().0, before);
        assert!(Confined::to(&[]).is_err());
    }
}
