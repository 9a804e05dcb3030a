//! How messages lie on the wire: a JSON line, then raw floats.

use std::io::{self, BufRead, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

use crate::message::Response;

/// The longest line that is read: a prompt of a million tokens fits.
const LINE_LIMIT: u64 = 32 << 20;

/// The most floats that a response may announce (4 GiB): more is taken for garbage.
pub const FLOAT_LIMIT: usize = 1 << 30;

/// Reads one line and parses it. `None` at the end of the stream.
///
/// # Errors
/// I/O errors, a line over 32 MiB, or one that is not the JSON expected.
pub fn read_line<T: DeserializeOwned>(input: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    input
        .by_ref()
        .take(LINE_LIMIT)
        .read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line).map(Some).map_err(|error| {
        let text = String::from_utf8_lossy(&line);
        let shown: String = text.trim_end().chars().take(120).collect();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{error} in the line `{shown}`"),
        )
    })
}

/// Writes one message as a line.
///
/// # Errors
/// I/O errors.
pub fn write_line<T: Serialize>(output: &mut impl Write, message: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

/// Reads one response and the floats that follow it. `None` at the end of the stream.
///
/// # Errors
/// As [`read_line`]; also a response that announces more than [`FLOAT_LIMIT`] floats, or ends
/// early.
pub fn read_response(input: &mut impl BufRead) -> io::Result<Option<(Response, Vec<f32>)>> {
    let Some(response) = read_line::<Response>(input)? else {
        return Ok(None);
    };
    if response.floats > FLOAT_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "a response announces {} floats, more than any model gives",
                response.floats
            ),
        ));
    }
    // Grown as bytes arrive, so that an announcement alone allocates nothing.
    let mut bytes = Vec::new();
    let wanted = response.floats as u64 * 4;
    input.by_ref().take(wanted).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < wanted {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{} of {wanted} bytes of floats arrived", bytes.len()),
        ));
    }
    let (quads, _) = bytes.as_chunks::<4>();
    Ok(Some((
        response,
        quads.iter().map(|b| f32::from_le_bytes(*b)).collect(),
    )))
}

/// Writes one response and its floats; sets `response.floats`.
///
/// # Errors
/// I/O errors.
pub fn write_response(
    output: &mut impl Write,
    mut response: Response,
    floats: &[f32],
) -> io::Result<()> {
    response.floats = floats.len();
    write_line(output, &response)?;
    let bytes: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
    output.write_all(&bytes)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{LaneError, Reply, Request};

    #[test]
    fn floats_arrive_to_the_bit() {
        let floats = [1.5, -0.0, f32::NAN, f32::MIN_POSITIVE / 2.0];
        let mut wire = Vec::new();
        let sent = Response {
            result: Ok(Reply::Unloaded),
            floats: 0,
        };
        write_response(&mut wire, sent, &floats).unwrap();
        let (response, read) = read_response(&mut wire.as_slice()).unwrap().unwrap();
        assert_eq!(response.result, Ok(Reply::Unloaded));
        let bits = |values: &[f32]| values.iter().map(|f| f.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(&floats));
    }

    #[test]
    fn a_truncated_payload_is_an_error() {
        let mut wire = Vec::new();
        let sent = Response {
            result: Ok(Reply::Unloaded),
            floats: 0,
        };
        write_response(&mut wire, sent, &[1.0, 2.0]).unwrap();
        wire.pop();
        let error = read_response(&mut wire.as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_absurd_announcement_is_an_error() {
        let line = b"{\"result\":{\"Ok\":{\"reply\":\"unloaded\"}},\"floats\":99999999999}\n";
        assert!(read_response(&mut line.as_slice()).is_err());
    }

    #[test]
    fn noise_is_an_error_that_shows_the_noise() {
        let error = read_response(&mut b"ggml: hello\n".as_slice()).unwrap_err();
        assert!(error.to_string().contains("ggml: hello"), "{error}");
    }

    #[test]
    fn requests_and_refusals_survive_the_wire() {
        let mut wire = Vec::new();
        write_line(&mut wire, &Request::Hello).unwrap();
        assert_eq!(
            read_line(&mut wire.as_slice()).unwrap(),
            Some(Request::Hello)
        );
        let mut wire = Vec::new();
        let refusal = Response {
            result: Err(LaneError::failed("why")),
            floats: 0,
        };
        write_response(&mut wire, refusal.clone(), &[]).unwrap();
        assert_eq!(
            read_response(&mut wire.as_slice()).unwrap().unwrap().0,
            refusal
        );
    }
}
