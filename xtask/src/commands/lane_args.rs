//! The flags that every command about lanes has.

use bitnet_crossval::lane::Lane;

use crate::lanes::{Provision, RepairMode, Talk, lane_by_name};

/// Which lanes, and how much to tell.
#[derive(Debug, clap::Args)]
pub struct LaneArgs {
    /// Only these lanes, separated by commas: `bitnet`, `llama`, `transformers` [default: the first
    /// two]
    #[arg(long, value_name = "LANES", value_parser = lane_by_name, value_delimiter = ',')]
    pub backend: Vec<Lane>,

    /// Also print what is found, and everything that the programs of a build print
    #[arg(short, long)]
    pub verbose: bool,
}

impl LaneArgs {
    /// The lanes asked for, each once, in the order of reports.
    pub fn lanes(&self) -> Vec<Lane> {
        if self.backend.is_empty() {
            return Lane::CPP.to_vec();
        }
        let mut lanes = self.backend.clone();
        lanes.sort_unstable();
        lanes.dedup();
        lanes
    }

    /// What checks and builds them, stopped by Ctrl-C.
    ///
    /// # Errors
    /// See [`Provision::new`].
    pub(crate) fn provision(&self) -> anyhow::Result<Provision> {
        let talk = if self.verbose { Talk::All } else { Talk::Steps };
        Provision::new(talk)
    }
}

/// Whether what is missing may be built.
#[derive(Debug, clap::Args)]
pub struct RepairArgs {
    /// What to do about a lane that is missing or not as wanted: build it, say how to, or build it
    /// in any case [default: auto, and never in CI]
    #[arg(long, value_name = "MODE")]
    pub repair: Option<RepairMode>,

    /// Build nothing: the same as --repair=never
    #[arg(long, conflicts_with = "repair")]
    pub no_repair: bool,
}

impl RepairArgs {
    /// What was asked for, or what suits the environment.
    pub fn mode(&self) -> RepairMode {
        match self.repair {
            _ if self.no_repair => RepairMode::Never,
            Some(mode) => mode,
            None => RepairMode::by_environment(),
        }
    }
}
