//! The flags that every command about lanes has.

use bitnet_crossval::lane::Lane;

use crate::download::Interrupt;
use crate::lanes::{Provision, RepairMode, Talk, lane_by_name};

/// Which lanes, and how much to tell.
#[derive(Debug, clap::Args)]
pub struct LaneArgs {
    /// Only this lane: `bitnet` or `llama`
    #[arg(long, value_name = "LANE", value_parser = lane_by_name)]
    pub backend: Option<Lane>,

    /// Also print what is found, and everything that the programs of a build print
    #[arg(short, long)]
    pub verbose: bool,
}

impl LaneArgs {
    /// The lanes asked for, in the order of reports.
    pub fn lanes(&self) -> Vec<Lane> {
        self.backend
            .map_or_else(|| Lane::ALL.to_vec(), |lane| vec![lane])
    }

    /// What checks and builds them, stopped by Ctrl-C.
    ///
    /// # Errors
    /// See [`Provision::new`].
    pub fn provision(&self) -> anyhow::Result<Provision> {
        let talk = if self.verbose { Talk::All } else { Talk::Steps };
        Provision::new(Interrupt::from_signals()?, talk)
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
