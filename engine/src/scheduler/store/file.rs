//! A sequence in a file: what it has read, and the keys, values and states of that.
//!
//! All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `BNPREFIX` |
//! | 4 | [`VERSION`] |
//! | 32 | BLAKE3 of what the values depend on: model, graph, numerics |
//! | 8 | capacity of the sequence |
//! | 8, 8 | how many tokens, how many checkpoints of a state |
//! | 4 each | the tokens |
//! | 8 each | for each checkpoint, tokens that it stands for |
//! | 32 | BLAKE3 of all bytes before |
//! | | for each layer that has them: keys, then values, `[tokens, kv_heads, head_dim]` |
//! | | for each checkpoint, for each layer with a state: its values in f32 |
//! | 32 | BLAKE3 of all bytes before |
//!
//! Keys and values are as wide as they are in the cache.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bitnet_kernels::program::{CacheType, LayerCache};
use bitnet_kernels::{Checkpoint, LayerContents, Program};

use crate::error::Error;
use crate::kept::problem::{StoreProblem, damaged};
use crate::model::Model;
use crate::sequence::shared;
use crate::session::Session;

/// Version of the form, and of the order of what is in it.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"BNPREFIX";
const HASH: usize = blake3::OUT_LEN;
/// Bytes before the tokens.
const FIXED: usize = MAGIC.len() + 4 + HASH + 3 * 8;

/// What stands at the beginning of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// BLAKE3 of what the values depend on.
    pub(super) model: [u8; HASH],
    pub(super) capacity: usize,
    pub(super) tokens: Vec<u32>,
    /// Tokens that each checkpoint stands for.
    pub(super) checkpoints: Vec<usize>,
}

fn hash(bytes: &[u8]) -> [u8; HASH] {
    blake3::hash(bytes).into()
}

impl Header {
    /// That of a sequence that has read `tokens`.
    pub(super) fn of(model: [u8; HASH], session: &Session, tokens: &[u32]) -> Header {
        let checkpoints = session.checkpoints().iter();
        Header {
            model,
            capacity: session.capacity(),
            tokens: tokens.to_vec(),
            checkpoints: checkpoints.map(|kept| kept.tokens).collect(),
        }
    }

    /// How many of `tokens` a sequence of this capacity would have from it.
    pub(super) fn usable(&self, program: &Program, tokens: &[u32], capacity: usize) -> usize {
        if !program.rotates_alike(self.capacity, capacity) {
            return 0;
        }
        let common = shared(&self.tokens, tokens);
        match program.has_state() {
            false => common,
            true => {
                let places = self.checkpoints.iter().copied();
                places.filter(|tokens| *tokens <= common).max().unwrap_or(0)
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.model);
        for number in [self.capacity, self.tokens.len(), self.checkpoints.len()] {
            bytes.extend((number as u64).to_le_bytes());
        }
        bytes.extend(self.tokens.iter().flat_map(|token| token.to_le_bytes()));
        let checkpoints = self.checkpoints.iter();
        bytes.extend(checkpoints.flat_map(|tokens| (*tokens as u64).to_le_bytes()));
        bytes.extend(hash(&bytes));
        bytes
    }

    /// Bytes of a whole file.
    pub(super) fn file_len(&self, program: &Program) -> usize {
        let keys_and_values = program.cache_bytes_per_position() * self.tokens.len();
        let states = 4 * states(program).sum::<usize>() * self.checkpoints.len();
        self.bytes().len() + keys_and_values + states + HASH
    }

    /// Reads the beginning of a file of `len` bytes, and checks that it is whole and of `model`.
    pub(super) fn read(
        path: &Path,
        file: &mut File,
        program: &Program,
        model: &[u8; HASH],
    ) -> Result<Header, StoreProblem> {
        let io = |source| StoreProblem::Io {
            path: path.to_owned(),
            source,
        };
        let len = file.metadata().map_err(io)?.len();
        let mut bytes = Vec::new();
        let mut read = |bytes: &mut Vec<u8>, more: u64| {
            if bytes.len() as u64 + more > len {
                return Err(damaged(path, "it ends too early"));
            }
            file.take(more).read_to_end(bytes).map_err(io).map(drop)
        };
        read(&mut bytes, FIXED as u64)?;
        let mut fields = Fields(&bytes);
        if fields.take() != *MAGIC {
            return Err(damaged(path, "it does not begin as such files do"));
        }
        let version = u32::from_le_bytes(fields.take());
        if version != VERSION {
            let path = path.to_owned();
            let known = VERSION;
            return Err(StoreProblem::Version {
                path,
                version,
                known,
            });
        }
        let of = fields.take::<HASH>();
        let [capacity, tokens, checkpoints] = [(); 3].map(|()| u64::from_le_bytes(fields.take()));
        let rest = tokens.checked_mul(4).zip(checkpoints.checked_mul(8));
        let rest = rest.and_then(|(a, b)| a.checked_add(b)?.checked_add(HASH as u64));
        let rest = rest.filter(|rest| *rest < len);
        let rest = rest.ok_or_else(|| damaged(path, "it ends too early"))?;
        read(&mut bytes, rest)?;
        let (signed, checksum) = bytes.split_at(bytes.len() - HASH);
        if hash(signed) != *checksum {
            return Err(damaged(path, "the checksum of its beginning is another"));
        }
        if of != *model {
            let path = path.to_owned();
            return Err(StoreProblem::Foreign { path });
        }
        let mut fields = Fields(&signed[FIXED..]);
        let header = Header {
            model: of,
            capacity: capacity as usize,
            tokens: (0..tokens)
                .map(|_| u32::from_le_bytes(fields.take()))
                .collect(),
            checkpoints: (0..checkpoints)
                .map(|_| u64::from_le_bytes(fields.take()) as usize)
                .collect(),
        };
        if header.file_len(program) as u64 != len {
            return Err(damaged(path, "it has not the length that it says"));
        }
        Ok(header)
    }
}

/// Takes fields of fixed size from bytes that have them.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => unreachable!("the length was checked"),
        }
    }
}

/// Lengths of the states that a program keeps.
fn states(program: &Program) -> impl Iterator<Item = usize> {
    program.caches.iter().filter_map(|layer| match layer {
        LayerCache::State { len } => Some(*len),
        LayerCache::KeysAndValues { .. } => None,
    })
}

/// A whole file of a sequence, which `header` is of.
pub(super) fn write(
    header: &Header,
    program: &Program,
    session: &Session,
) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(header.file_len(program));
    bytes.extend(header.bytes());
    for layer in 0..program.caches.len() {
        if let LayerContents::KeysAndValues { keys, values } = session.contents(layer)? {
            let values = keys.into_iter().chain(values);
            match program.cache_type {
                CacheType::F16 => {
                    bytes.extend(values.flat_map(|x| half::f16::from_f32(x).to_le_bytes()))
                }
                CacheType::F32 => bytes.extend(values.flat_map(f32::to_le_bytes)),
            }
        }
    }
    let checkpoints = session.checkpoints().iter();
    let states = checkpoints.flat_map(|kept| kept.states.iter().flatten());
    bytes.extend(states.flat_map(|x| x.to_le_bytes()));
    bytes.extend(hash(&bytes));
    Ok(bytes)
}

/// Makes the sequence that a whole file holds, with the tokens that it has read.
pub(super) fn restore(
    path: &Path,
    model: &Model,
    fingerprint: &[u8; HASH],
) -> Result<(Session, Vec<u32>), StoreProblem> {
    let io = |source| StoreProblem::Io {
        path: path.to_owned(),
        source,
    };
    let program = &model.plan().program;
    let mut file = bitnet_files::open(path).map_err(io)?;
    let header = Header::read(path, &mut file, program, fingerprint)?;
    let mut bytes = header.bytes();
    let first = bytes.len();
    file.read_to_end(&mut bytes).map_err(io)?;
    let (signed, checksum) = bytes.split_at(bytes.len() - HASH);
    if bytes.len() != header.file_len(program) || hash(signed) != *checksum {
        return Err(damaged(path, "its checksum is another"));
    }
    let device = |source| StoreProblem::Device {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let mut rest = Values(&signed[first..]);
    let mut session = model.session(header.capacity).map_err(device)?;
    for (layer, kept) in program.caches.iter().enumerate() {
        if let LayerCache::KeysAndValues { kv_heads, head_dim } = *kept {
            let count = header.tokens.len() * kv_heads * head_dim;
            let [keys, values] = [(); 2].map(|()| rest.take(count, program.cache_type));
            let contents = LayerContents::KeysAndValues { keys, values };
            session.set_contents(layer, &contents).map_err(device)?;
        }
    }
    let checkpoints = header.checkpoints.iter().map(|tokens| Checkpoint {
        tokens: *tokens,
        states: states(program)
            .map(|len| rest.take(len, CacheType::F32))
            .collect(),
    });
    session.stands_behind(&header.tokens, checkpoints.collect());
    Ok((session, header.tokens))
}

/// Values one after another, decoded.
struct Values<'a>(&'a [u8]);

impl Values<'_> {
    fn take(&mut self, count: usize, kind: CacheType) -> Vec<f32> {
        let (taken, rest) = self.0.split_at(count * kind.bytes());
        self.0 = rest;
        match kind {
            CacheType::F16 => {
                let (halves, _) = taken.as_chunks();
                let halves = halves.iter().map(|bits| half::f16::from_le_bytes(*bits));
                halves.map(half::f16::to_f32).collect()
            }
            CacheType::F32 => {
                let (floats, _) = taken.as_chunks();
                floats
                    .iter()
                    .map(|bits| f32::from_le_bytes(*bits))
                    .collect()
            }
        }
    }
}
