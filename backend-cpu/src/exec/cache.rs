//! What a sequence keeps from token to token, layer by layer.

use std::ops::Range;
use std::sync::Arc;

use bitnet_kernels::batch::cache_positions;
use bitnet_kernels::order::LANES;
use bitnet_kernels::program::{CacheType, LayerCache, Program};
use bitnet_kernels::{BackendError, CacheId, CachePart, Checkpoint, LayerContents};

use crate::generic::attention::PAGE;
use crate::memory::pages::Plain;
use crate::memory::shared::{NoMemory, SharedSlice};

/// The cache of one sequence.
pub(crate) struct Cache {
    /// Tokens that the states stand for; none while a pass is on its way, or after one that failed.
    pub(crate) stands: Option<usize>,
    /// Positions that fit.
    pub(crate) positions: usize,
    pub(crate) pages: Pages,
    /// Elements of a page.
    page: usize,
    cache_type: CacheType,
    layers: Vec<Layer>,
}

/// What one layer keeps.
enum Layer {
    KeysAndValues(CacheShape),
    State {
        values: SharedSlice<f32>,
        len: usize,
    },
}

/// Keys and values of all layers, [`PAGE`] positions to a page, in elements of either type; the
/// other vector is empty.
///
/// A page may be of several sequences, which have read the same tokens. Nobody writes to it then:
/// who is about to copies it first ([`Cache::own`]).
#[derive(Clone, Default)]
pub(crate) struct Pages {
    pub(crate) f16: Vec<Arc<SharedSlice<u16>>>,
    pub(crate) f32: Vec<Arc<SharedSlice<f32>>>,
}

/// Where the keys and values of a layer lie in a page.
///
/// Keys: `[kv_head][strip][head_dim][16]`, so that sixteen scores are computed side by side.
/// Values: `[kv_head][position][stride]`, rows padded with zeros to a multiple of 16 elements.
#[derive(Clone, Copy)]
pub(crate) struct CacheShape {
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Elements of a row of values.
    pub(crate) stride: usize,
    /// Where the keys begin.
    keys: usize,
    /// Where the values begin.
    values: usize,
}

impl CacheShape {
    /// Where element `d` of the key at `position` lies in its page.
    pub(crate) fn key(&self, kv_head: usize, position: usize, d: usize) -> usize {
        let position = position % PAGE;
        let strip = position / LANES * self.head_dim * LANES;
        self.keys + kv_head * PAGE * self.head_dim + strip + d * LANES + position % LANES
    }

    /// Where the row of values at `position` starts in its page.
    pub(crate) fn value(&self, kv_head: usize, position: usize) -> usize {
        self.values + (kv_head * PAGE + position % PAGE) * self.stride
    }
}

impl Cache {
    /// An empty cache; `None` where there is no memory for it.
    pub(crate) fn new(program: &Program, positions: usize) -> Option<Cache> {
        Cache::with(program, Pages::default(), positions)
    }

    /// The cache of a sequence that has read the first `tokens` of what this one's has, whose pages
    /// it shares. States, where there are any, are to be rewound. `None` where there is no memory
    /// for it.
    pub(crate) fn fork(&self, program: &Program, tokens: usize, positions: usize) -> Option<Cache> {
        let mut pages = self.pages.clone();
        pages.truncate(tokens.div_ceil(PAGE));
        let mut fork = Cache::with(program, pages, positions)?;
        let states = fork.states().next().is_some();
        fork.stands = (!states).then_some(tokens);
        Some(fork)
    }

    /// A cache whose first pages are these.
    fn with(program: &Program, pages: Pages, positions: usize) -> Option<Cache> {
        let mut page = 0_usize;
        let mut take = |len: usize| -> Option<usize> {
            let first = page;
            page = page.checked_add(len)?;
            Some(first)
        };
        let mut layer = |layer: &LayerCache| match *layer {
            LayerCache::KeysAndValues { kv_heads, head_dim } => {
                let stride = head_dim.next_multiple_of(LANES);
                let rows = kv_heads.checked_mul(PAGE)?;
                Some(Layer::KeysAndValues(CacheShape {
                    kv_heads,
                    head_dim,
                    stride,
                    keys: take(rows.checked_mul(head_dim)?)?,
                    values: take(rows.checked_mul(stride)?)?,
                }))
            }
            LayerCache::State { len } => {
                let mut values = SharedSlice::default();
                values.try_reserve(len).ok()?;
                Some(Layer::State { values, len })
            }
        };
        let layers = program
            .caches
            .iter()
            .map(&mut layer)
            .collect::<Option<_>>()?;
        let count = positions.div_ceil(PAGE);
        let mut cache = Cache {
            stands: Some(0),
            positions,
            pages,
            page,
            cache_type: program.cache_type,
            layers,
        };
        cache.grow(count).ok()?;
        Some(cache)
    }

    /// Makes the pages of these positions this sequence's own: those that others share are copied,
    /// those that are not there any more are made.
    pub(crate) fn own(&mut self, positions: Range<usize>) -> Result<(), NoMemory> {
        let pages = positions.start / PAGE..positions.end.div_ceil(PAGE);
        self.grow(pages.end)?;
        own(&mut self.pages.f16, pages.clone())?;
        own(&mut self.pages.f32, pages)
    }

    /// Makes pages until there are `count`.
    fn grow(&mut self, count: usize) -> Result<(), NoMemory> {
        match self.cache_type {
            CacheType::F16 => extend(&mut self.pages.f16, count, self.page),
            CacheType::F32 => extend(&mut self.pages.f32, count, self.page),
        }
    }

    /// Drops the pages behind the first `tokens`.
    pub(crate) fn shrink(&mut self, tokens: usize) {
        self.pages.truncate(tokens.div_ceil(PAGE));
    }

    /// What it holds, in parts: states, and pages.
    pub(crate) fn parts(&self) -> Vec<CachePart> {
        let states = self.layers.iter().filter_map(|layer| match layer {
            Layer::State { values, .. } => Some(part(values)),
            Layer::KeysAndValues(_) => None,
        });
        let f16 = self.pages.f16.iter().map(|page| part(&**page));
        let f32 = self.pages.f32.iter().map(|page| part(&**page));
        states.chain(f16).chain(f32).collect()
    }

    /// Where a layer that keeps keys and values has them.
    pub(crate) fn keys_and_values(&self, layer: usize) -> CacheShape {
        match &self.layers[layer] {
            Layer::KeysAndValues(shape) => *shape,
            Layer::State { .. } => unreachable!("the program was validated"),
        }
    }

    /// The state of a layer that keeps one.
    pub(crate) fn state(&self, layer: usize) -> &SharedSlice<f32> {
        match &self.layers[layer] {
            Layer::State { values, .. } => values,
            Layer::KeysAndValues(_) => unreachable!("the program was validated"),
        }
    }

    fn states(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.layers.iter_mut().filter_map(|layer| match layer {
            Layer::State { values, .. } => Some(values.as_mut()),
            Layer::KeysAndValues(_) => None,
        })
    }

    /// Copies the states of cache `id`, which this is.
    pub(crate) fn checkpoint(&mut self, id: CacheId) -> Result<Checkpoint, BackendError> {
        let Some(tokens) = self.stands else {
            return Err(BackendError::NoWayBack {
                cache: id.0,
                stands: None,
                start: 0,
            });
        };
        Ok(Checkpoint {
            tokens,
            states: self.states().map(|state| state.to_vec()).collect(),
        })
    }

    /// Takes the states back to a checkpoint, or to the beginning.
    pub(crate) fn rewind(&mut self, to: Option<&Checkpoint>) -> Result<(), BackendError> {
        let Some(to) = to else {
            self.states().for_each(|state| state.fill(0.0));
            self.stands = Some(0);
            return Ok(());
        };
        to.fits(self.states().map(|state| state.len()))?;
        for (state, kept) in self.states().zip(&to.states) {
            state.copy_from_slice(kept);
        }
        self.stands = Some(to.tokens);
        Ok(())
    }

    /// What a layer holds; of keys and values, those of `0 .. positions`.
    pub(crate) fn read(
        &mut self,
        layer: usize,
        positions: usize,
    ) -> Result<LayerContents, BackendError> {
        cache_positions(0, positions, self.positions)?;
        match self.layers.get_mut(layer) {
            Some(Layer::KeysAndValues(shape)) => Ok(self.pages.read(shape, positions)),
            Some(Layer::State { values, .. }) => Ok(LayerContents::State(values.as_mut().to_vec())),
            None => Err(BackendError::Batch(format!("there is no layer {layer}"))),
        }
    }

    /// Overwrites what a layer holds, in pages that are its own.
    pub(crate) fn write(
        &mut self,
        layer: usize,
        contents: &LayerContents,
    ) -> Result<(), BackendError> {
        let room = self.positions;
        match (self.layers.get_mut(layer), contents) {
            (Some(Layer::KeysAndValues(shape)), LayerContents::KeysAndValues { keys, values })
                if keys.len() == values.len()
                    && keys.len() <= room * shape.kv_heads * shape.head_dim =>
            {
                self.pages.write(shape, keys, values);
                Ok(())
            }
            (Some(Layer::State { values: kept, len }), LayerContents::State(values))
                if values.len() == *len =>
            {
                kept.as_mut().copy_from_slice(values);
                Ok(())
            }
            _ => Err(BackendError::Batch(format!(
                "layer {layer} of the cache does not hold what is to be written"
            ))),
        }
    }
}

/// Adds empty pages of `len` elements until there are `count`.
fn extend<T: Plain + Default>(
    pages: &mut Vec<Arc<SharedSlice<T>>>,
    count: usize,
    len: usize,
) -> Result<(), NoMemory> {
    let new = count.saturating_sub(pages.len());
    // All at once first: the system tells at once where there is far too little. Memory that nobody
    // uses would not be asked for at all.
    let mut all = SharedSlice::<T>::default();
    all.try_reserve(new.saturating_mul(len))?;
    drop(std::hint::black_box(all));
    pages.reserve_exact(new);
    for _ in 0..new {
        let mut page = SharedSlice::default();
        page.try_reserve(len)?;
        pages.push(Arc::new(page));
    }
    Ok(())
}

fn own<T: Plain + Default>(
    pages: &mut [Arc<SharedSlice<T>>],
    which: Range<usize>,
) -> Result<(), NoMemory> {
    for page in pages.get_mut(which).into_iter().flatten() {
        if Arc::get_mut(page).is_some() {
            continue;
        }
        let mut copy = SharedSlice::default();
        copy.try_reserve(page.len())?;
        // SAFETY: nobody writes to a page that is shared.
        let shared = unsafe { page.read(0..page.len()) };
        copy.as_mut().copy_from_slice(shared);
        *page = Arc::new(copy);
    }
    Ok(())
}

/// Values as a part of a cache, by where they lie.
fn part<T>(values: &SharedSlice<T>) -> CachePart {
    CachePart {
        name: values.address(),
        bytes: values.len() * size_of::<T>(),
    }
}

impl Pages {
    fn truncate(&mut self, count: usize) {
        self.f16.truncate(count);
        self.f32.truncate(count);
    }

    /// `[positions, kv_heads, head_dim]` each.
    fn read(&self, shape: &CacheShape, positions: usize) -> LayerContents {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for position in 0..positions {
            for head in 0..shape.kv_heads {
                for d in 0..shape.head_dim {
                    let page = position / PAGE;
                    keys.push(self.get(page, shape.key(head, position, d)));
                    values.push(self.get(page, shape.value(head, position) + d));
                }
            }
        }
        LayerContents::KeysAndValues { keys, values }
    }

    /// Writes to pages that are this sequence's own.
    fn write(&mut self, shape: &CacheShape, keys: &[f32], values: &[f32]) {
        for (i, (key, value)) in keys.iter().zip(values).enumerate() {
            let (row, d) = (i / shape.head_dim, i % shape.head_dim);
            let (position, head) = (row / shape.kv_heads, row % shape.kv_heads);
            let page = position / PAGE;
            self.set(page, shape.key(head, position, d), *key);
            self.set(page, shape.value(head, position) + d, *value);
        }
    }

    /// Element `at` of a page, decoded; 0 where there is no such page.
    fn get(&self, page: usize, at: usize) -> f32 {
        // SAFETY: no pass runs, and nobody else writes.
        unsafe {
            match (self.f16.get(page), self.f32.get(page)) {
                (Some(page), _) => half::f16::from_bits(page.read(at..at + 1)[0]).to_f32(),
                (_, Some(page)) => page.read(at..at + 1)[0],
                _ => 0.0,
            }
        }
    }

    /// Writes element `at` of a page.
    fn set(&self, page: usize, at: usize, x: f32) {
        // SAFETY: no pass runs, and the page is this sequence's own.
        unsafe {
            match self.f16.get(page) {
                Some(page) => page.write(at..at + 1)[0] = half::f16::from_f32(x).to_bits(),
                None => self.f32[page].write(at..at + 1)[0] = x,
            }
        }
    }
}
