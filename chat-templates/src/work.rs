//! What the functions of this crate pay for the work they do, in minijinja's fuel, and the bounds
//! of what a template may keep.
//!
//! minijinja charges for instructions and for what its own functions make. These charge before
//! they make something, so that nothing large comes into being unpaid.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// Fuel for a conversation without content.
const BASE_FUEL: u64 = 1_000_000;
/// Bytes of input that buy one more.
const BYTES_PER_FUEL: u64 = 8;
/// Bytes that are made for one fuel, as in minijinja.
const MADE_PER_FUEL: u64 = 64;
/// Elements of lists that are made for one fuel, as in minijinja.
const ELEMENTS_PER_FUEL: u64 = 2;
/// Elements that are only looked at for one fuel.
const VISITS_PER_FUEL: u64 = 64;
/// How deep the containers of a template may lie in each other. JSON comes at most 128 deep.
const MAX_DEPTH: usize = 200;
/// Elements of a list for each fuel that the template started with.
const FUEL_PER_ELEMENT: u64 = 10;

/// Fuel for a conversation with so many bytes.
pub(crate) fn fuel_for(bytes: u64) -> u64 {
    BASE_FUEL + bytes / BYTES_PER_FUEL
}

/// Pays for `bytes` of text.
pub(crate) fn pay_bytes(state: &State, bytes: usize) -> Result<(), Error> {
    pay(state, bytes, MADE_PER_FUEL)
}

/// Pays for a list of so many elements.
pub(crate) fn pay_elements(state: &State, elements: usize) -> Result<(), Error> {
    pay(state, elements, ELEMENTS_PER_FUEL)
}

fn pay(state: &State, amount: usize, per_fuel: u64) -> Result<(), Error> {
    match amount as u64 / per_fuel {
        0 => Ok(()),
        fuel => state.consume_fuel(fuel),
    }
}

/// Checks a value that a template is about to keep: lists that add up without end, containers in
/// containers, and namespaces in themselves would overflow memory or the stack where fuel does not
/// see it.
pub(crate) fn check_kept(state: &State, value: &Value, stored: bool) -> Result<(), Error> {
    if is_namespace(value) {
        return match stored {
            true => Err(holds_namespace()),
            false => Ok(()),
        };
    }
    let mut visits = 0;
    let checked = check(state, value, 1, &mut visits);
    pay(state, visits, VISITS_PER_FUEL)?;
    checked
}

fn check(state: &State, value: &Value, depth: usize, visits: &mut usize) -> Result<(), Error> {
    let Some(object) = value.as_object() else {
        return Ok(());
    };
    if depth > MAX_DEPTH {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("values lie more than {MAX_DEPTH} deep in each other"),
        ));
    }
    let started = state
        .fuel_levels()
        .map_or(BASE_FUEL, |(used, left)| used + left);
    let most = (started / FUEL_PER_ELEMENT) as usize;
    if let Some(length) = object.enumerator_len().filter(|&length| length > most) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("a list of {length} elements; the limit for this conversation is {most}"),
        ));
    }
    let mut visit = |item: &Value| -> Result<(), Error> {
        *visits += 1;
        if is_namespace(item) {
            return Err(holds_namespace());
        }
        check(state, item, depth + 1, visits)
    };
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()?.take(most) {
                visit(&item)?;
            }
        }
        ValueKind::Map => {
            for (_, item) in object.try_iter_pairs().into_iter().flatten() {
                visit(&item)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn holds_namespace() -> Error {
    Error::new(
        ErrorKind::InvalidOperation,
        "a namespace is kept inside of another value",
    )
}

/// Whether `value` is what `namespace()` gives; minijinja keeps that type to itself.
fn is_namespace(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.type_name().ends_with("::Namespace"))
}
