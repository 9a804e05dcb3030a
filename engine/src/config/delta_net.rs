//! The sizes of gated delta nets.

use bitnet_kernels::program::DeltaShape;

use crate::error::Problem;
use crate::metadata::Keys;

/// Values of a state, or of a convolution, that are taken seriously; models have under a million.
const LARGEST: usize = 1 << 28;

/// The shape of the gated delta nets of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaNet {
    /// Of the delta rule.
    pub shape: DeltaShape,
    /// Tokens that the convolution before it sees, the newest included.
    pub columns: usize,
}

impl DeltaNet {
    pub(super) fn read(eps: f32, keys: &mut Keys<'_>) -> DeltaNet {
        let heads = keys.size("ssm.time_step_rank");
        let key_heads = keys.size("ssm.group_count");
        let size = keys.size("ssm.state_size");
        let inner = keys.size("ssm.inner_size");
        let columns = keys.size("ssm.conv_kernel");
        if key_heads > 0 && !heads.is_multiple_of(key_heads) {
            let what = format!("is {heads}: so many heads cannot share {key_heads} of keys evenly");
            keys.refuse_value("ssm.time_step_rank", &what);
        }
        if inner > 0 && inner != heads.saturating_mul(size) {
            let what = format!("is {inner}, not that of {heads} heads of {size}");
            keys.refuse_value("ssm.inner_size", &what);
        }
        let rows = heads.saturating_add(2 * key_heads).saturating_mul(size);
        if rows.saturating_mul(columns.max(size)) > LARGEST {
            keys.refuse(Problem::Shape(format!(
                "a delta net of {heads} heads and {key_heads} key heads of {size}, over {columns} \
                 tokens, is larger than any model's"
            )));
        }
        DeltaNet {
            shape: DeltaShape {
                heads,
                key_heads,
                size,
                eps,
            },
            columns,
        }
    }
}
