// Keys or values of a cache row, ${CACHE} to a word.
#if HALF_CACHE
const PER_CACHE_WORD: u32 = 2u;
#else
const PER_CACHE_WORD: u32 = 1u;
#endif
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
