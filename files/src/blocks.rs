//! [`BlockWriter`]: writing in whole blocks.

use std::io::{self, Write};

/// Writes blocks of a size at multiples of it, however little comes at a time. A file that is
/// written in blocks of a large page can lie in memory in large pages, and whoever maps it reads it
/// so. What is pending is written by [`Write::flush`] alone.
#[derive(Debug)]
pub(crate) struct BlockWriter<W> {
    into: W,
    size: usize,
    /// The beginning of a block; shorter than one.
    pending: Vec<u8>,
}

impl<W: Write> BlockWriter<W> {
    pub(crate) fn new(into: W, size: usize) -> BlockWriter<W> {
        BlockWriter {
            into,
            size,
            pending: Vec::new(),
        }
    }

    pub(crate) fn get_ref(&self) -> &W {
        &self.into
    }
}

impl<W: Write> Write for BlockWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.size - self.pending.len());
        let bytes = &bytes[..taken];
        if taken == self.size {
            self.into.write_all(bytes)?;
            return Ok(taken);
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() == self.size {
            self.into.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(taken)
    }

    /// The block that was begun is written as far as it goes; what comes then is no longer at
    /// multiples of a block.
    fn flush(&mut self) -> io::Result<()> {
        self.into.write_all(&self.pending)?;
        self.pending.clear();
        self.into.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written at a time.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_comes_at_a_time_is_written_in_blocks() {
        let bytes: Vec<u8> = (0..23).collect();
        for at_a_time in [1, 3, 5, 8, 23] {
            let mut file = BlockWriter::new(Writes::default(), 5);
            for part in bytes.chunks(at_a_time) {
                file.write_all(part).expect("written");
            }
            let whole = bytes.chunks_exact(5);
            assert_eq!(file.get_ref().0, whole.collect::<Vec<_>>(), "{at_a_time}");
            file.flush().expect("written");
            assert_eq!(file.get_ref().0, bytes.chunks(5).collect::<Vec<_>>());
        }
    }
}
