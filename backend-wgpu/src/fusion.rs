//! Which operations run as one: where few rows are computed, what counts is the number of
//! dispatches, which wait for one another.

use std::ops::Range;

use bitnet_kernels::BackendError;
use bitnet_kernels::program::{Program, Rows};
use bitnet_kernels::report::kind;

use crate::loader::Loader;
use crate::pass::Pass;
use crate::recording::Recording;
use crate::step::Step;
use crate::steps::fused::{self, OneStep};

/// Operations that follow one another, and one step for all of them where few rows are computed.
/// It gives the same bits as their own steps; what lies between them it leaves nowhere.
pub(crate) struct Group {
    pub(crate) ops: Range<usize>,
    pub(crate) fused: Option<OneStep>,
    rows: Rows,
}

impl Group {
    /// The operations' names and the matrices that they multiply.
    pub(crate) fn kind(&self, program: &Program) -> String {
        let ops = program.ops[self.ops.clone()].iter();
        let kinds: Vec<String> = ops.map(|op| kind(program, op)).collect();
        kinds.join(", ")
    }

    /// Records the operations for a pass; `steps` are those of all operations.
    pub(crate) fn record(
        &self,
        steps: &[Box<dyn Step>],
        pass: &Pass,
        recording: &mut Recording<'_>,
    ) {
        match &self.fused {
            Some(fused) if pass.part(self.rows).rows <= fused.most_rows => {
                fused.step.record(pass, recording);
            }
            _ => {
                for step in &steps[self.ops.clone()] {
                    step.record(pass, recording);
                }
            }
        }
    }
}

/// All operations of a program in groups, each as long as it can be.
pub(crate) fn groups(loader: &mut Loader<'_>) -> Result<Vec<Group>, BackendError> {
    let program = loader.program;
    let mut groups = Vec::new();
    let mut start = 0;
    while start < program.ops.len() {
        let group = group(loader, start)?;
        start = group.ops.end;
        groups.push(group);
    }
    Ok(groups)
}

fn group(loader: &mut Loader<'_>, start: usize) -> Result<Group, BackendError> {
    let program = loader.program;
    let rest = &program.ops[start..];
    for len in (2..=fused::MOST_OPS.min(rest.len())).rev() {
        let (ops, after) = rest.split_at(len);
        if let Some(fused) = fused::load(loader, ops, after)? {
            let out = ops[len - 1].outputs()[0];
            return Ok(Group {
                ops: start..start + len,
                fused: Some(fused),
                rows: program.buffer(out).rows,
            });
        }
    }
    Ok(Group {
        ops: start..start + 1,
        fused: None,
        rows: Rows::Batch,
    })
}
