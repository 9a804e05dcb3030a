//! The two layouts that tensors of type 42 were written with, told apart by their sizes.
//!
//! `Q2_0` has blocks of 64 weights. Before that was settled, files were written with blocks of 128
//! under the same id; now that layout has an id of its own, [`PQ2_0`]. Nothing in a file says which
//! of the two it has, but writers place one tensor behind the other, so that the distance to the
//! next gives a tensor's size up to the alignment.

use crate::tensor::size;
use crate::tensor_type::{PQ2_0, Q2_0};
use crate::{Error, TensorInfo};

/// Gives tensors of type 42 the id of the layout that all of them have. Offsets count from the
/// start of the data, of which there are `data_len` bytes.
pub(crate) fn settle(
    tensors: &mut [TensorInfo],
    data_len: u64,
    alignment: u32,
) -> Result<(), Error> {
    let mut starts: Vec<u64> = tensors.iter().map(|tensor| tensor.offset).collect();
    starts.push(data_len);
    starts.sort_unstable();
    let mut found: Option<(u32, &TensorInfo)> = None;
    let mut unclear = None;
    for tensor in tensors.iter().filter(|tensor| tensor.type_id == Q2_0) {
        let next = starts.iter().find(|start| **start > tensor.offset);
        let room = next.map_or(0, |next| next - tensor.offset);
        let takes = |id| size(&tensor.shape, tensor.elements(), id);
        // What a writer leaves behind a tensor is less than the alignment.
        let fits =
            |id| takes(id).is_some_and(|bytes| bytes <= room && room - bytes < alignment.into());
        let layout = match (fits(Q2_0), fits(PQ2_0)) {
            (true, false) => Q2_0,
            (false, true) => PQ2_0,
            // Rows of 64 can only be of one.
            _ if takes(PQ2_0).is_none() => Q2_0,
            _ => {
                let what = (tensor, room);
                unclear.get_or_insert(what);
                continue;
            }
        };
        match found {
            Some((other, first)) if other != layout => {
                return Err(Error::MixedBlocks {
                    first: first.name.clone(),
                    second: tensor.name.clone(),
                    second_has: if layout == PQ2_0 { 128 } else { 64 },
                });
            }
            _ => found = Some((layout, tensor)),
        }
    }
    match (found, unclear) {
        (Some((PQ2_0, _)), _) => {
            for tensor in tensors.iter_mut().filter(|tensor| tensor.type_id == Q2_0) {
                tensor.type_id = PQ2_0;
                tensor.bytes = size(&tensor.shape, tensor.elements(), PQ2_0);
            }
            Ok(())
        }
        (None, Some((tensor, room))) => Err(Error::AmbiguousBlocks {
            tensor: tensor.name.clone(),
            offset: tensor.offset,
            room,
            of_64: size(&tensor.shape, tensor.elements(), Q2_0).unwrap_or(0),
            of_128: size(&tensor.shape, tensor.elements(), PQ2_0).unwrap_or(0),
        }),
        _ => Ok(()),
    }
}
