//! Token accounting: how many tokens texts have for models known by name, and what they cost.
//!
//! A [`Registry`] turns any name into a [`ModelSpec`], which says how exact a count can be; a
//! [`Meter`] counts with the model's tokenizer; a [`PriceList`] has what tokens cost. The encodings
//! of OpenAI's models are built in here, so that only programs that count carry their data.
//! Nothing here reads the environment or the network.

mod catalogue;
mod cost;
mod date;
mod encoding;
mod import;
mod meter;
mod model;
mod names;
mod price;
mod price_list;
mod registry;

pub use cost::{Cost, Usage, UsageError};
pub use date::Date;
pub use encoding::Encoding;
pub use meter::{Meter, TextCounter, estimate};
pub use model::{Accuracy, EncodingSpec, Family, ModelSpec, Provider};
pub use price::{Price, Rates, STALE_AFTER_DAYS, Tier};
pub use price_list::{PriceList, PricingError};
pub use registry::Registry;
