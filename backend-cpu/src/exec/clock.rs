//! Where the time of a pass goes, as its first thread sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bitnet_kernels::program::{Op, Product, Program};
use bitnet_kernels::{Profile, WeightId};

/// The times of a pass's operations, and those of all passes so far.
pub(crate) struct Clock {
    /// Per operation.
    names: Vec<String>,
    nanoseconds: Vec<AtomicU64>,
    pub(crate) profile: Profile,
}

impl Clock {
    pub(crate) fn new(program: &Program) -> Clock {
        Clock {
            names: program.ops.iter().map(|op| name(program, op)).collect(),
            nanoseconds: program.ops.iter().map(|_| AtomicU64::new(0)).collect(),
            profile: Profile::default(),
        }
    }

    /// Notes the time of an operation, with the wait for the other threads that it began with.
    pub(crate) fn note(&self, op: usize, time: Duration) {
        self.nanoseconds[op].store(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Adds what was noted to the profile.
    pub(crate) fn gather(&mut self) {
        for (name, nanoseconds) in self.names.iter().zip(&mut self.nanoseconds) {
            let time = std::mem::take(nanoseconds.get_mut());
            if time > 0 {
                self.profile.add(name, Duration::from_nanos(time));
            }
        }
    }
}

/// An operation's name, with the matrices that it multiplies: the same for all layers.
fn name(program: &Program, op: &Op) -> String {
    let matrix = |weight: WeightId| {
        let name = program.weight(weight).name.as_str();
        let name = name.strip_suffix(".weight").unwrap_or(name);
        match name
            .strip_prefix("blk.")
            .and_then(|name| name.split_once('.'))
        {
            Some((_layer, name)) => name.to_owned(),
            None => name.to_owned(),
        }
    };
    let of = |products: &[&Product]| {
        let matrices: Vec<String> = products.iter().map(|p| matrix(p.weight)).collect();
        format!("{} {}", op.name(), matrices.join(" "))
    };
    match op {
        Op::Linear { products, .. } => of(&products.iter().map(|(p, _)| p).collect::<Vec<_>>()),
        Op::GatedLinear { gate, up, .. } => of(&[gate, up]),
        Op::Head { product, .. } => of(&[product]),
        _ => op.name().to_owned(),
    }
}
