//! Receipts as one page that needs nothing but a browser: the verdict, the divergence at each
//! position, and the residual stream of both sides layer by layer.

use std::fmt::Write as _;

use crate::receipt::ParityReceipt;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;color:#1c2024;background:#fff;max-width:64rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.5rem;border-bottom:1px solid #d9dce0}h3{font-size:1rem;margin:1.2rem 0 .2rem}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.6rem 0}td,th{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #e6e8eb}\
td:first-child,th:first-child{text-align:left}.pass{color:#18794e}.fail{color:#c62a2f}svg{width:100%;height:auto}\
svg text{font-size:11px;fill:#60646c}code{background:#f1f3f5;padding:0 .2rem}.key{display:inline-block;width:1.4rem;height:.2rem;vertical-align:middle;margin:0 .3rem 0 .9rem}";

const OURS: &str = "#c2410c";
const THEIRS: &str = "#1d4ed8";
const OWN: &str = "#8b8d98";
const LOCAL: &str = "#15803d";

/// The page.
pub fn html(receipts: &[&ParityReceipt]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Parity</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n<h1>Parity</h1>\n"
    );
    if let Some(first) = receipts.first() {
        let mut facts = vec![
            ("Model", first.model.clone()),
            ("SHA-256", first.model_sha256.clone().unwrap_or_default()),
            ("Prompt", first.prompt.clone()),
            (
                "Template",
                first.prompt_template.clone().unwrap_or_default(),
            ),
            ("When", first.timestamp.clone()),
            ("Commit", first.commit.clone().unwrap_or_default()),
        ];
        facts.retain(|(_, value)| !value.is_empty());
        page.push_str("<table>");
        for (name, value) in facts {
            let _ = write!(
                page,
                "<tr><td>{name}</td><td><code>{}</code></td></tr>",
                escape(&value)
            );
        }
        page.push_str("</table>\n");
    }
    for receipt in receipts {
        lane(&mut page, receipt);
    }
    page.push_str("</body></html>\n");
    page
}

fn lane(page: &mut String, receipt: &ParityReceipt) {
    let passed = receipt.summary.all_passed;
    let (class, word) = if passed {
        ("pass", "passed")
    } else {
        ("fail", "failed")
    };
    let _ = writeln!(
        page,
        "<h2>{} <span class=\"{class}\">{word}</span></h2>",
        escape(&receipt.backend)
    );
    if let Some(reference) = &receipt.reference {
        let _ = writeln!(page, "<p>{}</p>", escape(&reference.version));
    }
    if let Some(transcoded) = &receipt.transcoded {
        let (from, to) = (escape(&transcoded.from), escape(&transcoded.to));
        let _ = writeln!(
            page,
            "<p>Both sides of this lane ran the weights of {from} as {to}.</p>"
        );
    }
    for reason in &receipt.summary.reasons {
        let _ = writeln!(page, "<p class=\"fail\">{}</p>", escape(reason));
    }
    if receipt.rows.is_empty() {
        return;
    }
    distances(page, receipt);
    positions(page, receipt);
    layers(page, receipt);
}

/// Ours against the reference beside the reference against itself.
fn distances(page: &mut String, receipt: &ParityReceipt) {
    page.push_str(
        "<table><tr><th>distance from the reference</th><th>mean MSE</th><th>largest MSE</th><th>lowest cosine</th>\
         <th>mean KL</th><th>lowest top-5</th></tr>",
    );
    let ours = ("ours".to_owned(), receipt.spread());
    let own = receipt.own_distance.iter();
    let own =
        own.map(|(varied, spread)| (format!("itself, {}", varied.replace('_', " ")), *spread));
    for (who, s) in std::iter::once(ours).chain(own) {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{:.2e}</td><td>{:.2e}</td><td>{:.6}</td><td>{:.2e}</td><td>{:.1}</td></tr>",
            escape(&who),
            s.mean_mse,
            s.max_mse,
            s.min_cosine,
            s.mean_kl,
            s.min_top5
        );
    }
    page.push_str("</table>\n");
}

fn positions(page: &mut String, receipt: &ParityReceipt) {
    let of = |value: fn(&crate::receipt::PositionMetrics) -> Option<f64>| -> Vec<f64> {
        receipt
            .rows
            .iter()
            .map(|row| value(row).unwrap_or(0.0))
            .collect()
    };
    let series = [
        Series::new("ours", OURS, of(|row| Some(row.mse))),
        Series::new(
            "the reference to itself, the furthest of what was varied",
            OWN,
            of(|row| row.own_mse),
        ),
    ];
    let marked = receipt
        .rows
        .iter()
        .filter(|row| row.passed == Some(false))
        .map(|row| row.pos)
        .collect();
    chart(
        page,
        "Mean squared error of the logits, by position",
        "position",
        Scale::Log,
        &series,
        marked,
    );
    let series = [Series::new("KL divergence", OURS, of(|row| row.kl))];
    chart(
        page,
        "KL divergence in nats, by position",
        "position",
        Scale::Log,
        &series,
        Vec::new(),
    );
}

fn layers(page: &mut String, receipt: &ParityReceipt) {
    let all = &receipt.layers;
    let series = [
        Series::new(
            "ours",
            OURS,
            all.iter().map(|layer| layer.norm_ours).collect(),
        ),
        Series::new(
            "the reference",
            THEIRS,
            all.iter().map(|layer| layer.norm_theirs).collect(),
        ),
    ];
    chart(
        page,
        "Mean norm of the residual stream, by layer",
        "layer",
        Scale::Linear,
        &series,
        Vec::new(),
    );
    let series = [
        Series::new(
            "ours on its own, mean",
            OURS,
            all.iter().map(|layer| layer.free.mean_nmse).collect(),
        ),
        Series::new(
            "the reference to itself, mean",
            OWN,
            all.iter().map(|layer| layer.own.mean_nmse).collect(),
        ),
        Series::new(
            "our layer on the reference's input, median",
            LOCAL,
            all.iter()
                .map(|layer| layer.local.map_or(0.0, |local| local.median_nmse))
                .collect(),
        ),
    ];
    let marked = receipt.summary.first_layer.into_iter().collect();
    chart(
        page,
        "Error of the residual stream over its variance (NMSE), by layer",
        "layer",
        Scale::Log,
        &series,
        marked,
    );
}

struct Series {
    name: &'static str,
    colour: &'static str,
    values: Vec<f64>,
}

impl Series {
    fn new(name: &'static str, colour: &'static str, values: Vec<f64>) -> Self {
        Self {
            name,
            colour,
            values,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    /// What is zero, or below 1e-16, lies on the floor of the picture.
    Log,
}

/// Drawing area in units of the picture.
const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 30.0;

/// The smallest value that a logarithmic picture tells from nothing.
const FLOOR: f64 = 1e-16;

fn chart(
    page: &mut String,
    title: &str,
    along: &str,
    scale: Scale,
    series: &[Series],
    marked: Vec<usize>,
) {
    let _ = write!(page, "<h3>{title}</h3>\n<div>");
    for one in series {
        let _ = write!(
            page,
            "<span class=\"key\" style=\"background:{}\"></span>{}",
            one.colour,
            escape(one.name)
        );
    }
    page.push_str("</div>\n");
    let height = |value: f64| match scale {
        Scale::Linear => value,
        Scale::Log => value.max(FLOOR).log10(),
    };
    let heights = || {
        series
            .iter()
            .flat_map(|one| &one.values)
            .filter(|v| v.is_finite() && (scale == Scale::Linear || **v > 0.0))
            .map(|v| height(*v))
    };
    let (low, high) = match scale {
        Scale::Linear => (0.0, heights().fold(0.0, f64::max).max(1e-9) * 1.05),
        Scale::Log => {
            let low = heights().fold(0.0, f64::min).floor();
            (low, heights().fold(low, f64::max).ceil().max(low + 1.0))
        }
    };
    // Whole decades where the scale is logarithmic.
    let step = match scale {
        Scale::Linear => high / 4.0,
        Scale::Log => ((high - low) / 6.0).ceil(),
    };
    let count = series.iter().map(|one| one.values.len()).max().unwrap_or(0);
    let x = |index: usize| {
        LEFT + (WIDTH - LEFT - 10.0) * index as f64 / count.saturating_sub(1).max(1) as f64
    };
    let y = |value: f64| {
        let at = if value.is_finite() {
            height(value).clamp(low, high)
        } else {
            high
        };
        10.0 + (HEIGHT - BOTTOM - 10.0) * (1.0 - (at - low) / (high - low))
    };
    let _ = write!(
        page,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    );
    for at in (0..)
        .map(|n| low + f64::from(n) * step)
        .take_while(|at| *at <= high)
    {
        let (value, label) = match scale {
            Scale::Linear => (at, format!("{at:.3}")),
            Scale::Log => (10f64.powf(at), format!("1e{at:.0}")),
        };
        let y = y(value);
        let _ = write!(
            page,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e6e8eb\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for index in (0..count).step_by(count.div_ceil(16).max(1)) {
        let _ = write!(
            page,
            "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{index}</text>",
            x(index),
            HEIGHT - 12.0
        );
    }
    let _ = write!(
        page,
        "<text x=\"{WIDTH}\" y=\"{HEIGHT}\" text-anchor=\"end\">{along}</text>"
    );
    for index in marked {
        let x = x(index);
        let _ = write!(
            page,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"10\" y2=\"{:.0}\" stroke=\"#c62a2f\" stroke-dasharray=\"4 3\"/>",
            HEIGHT - BOTTOM
        );
    }
    for one in series {
        let points = one
            .values
            .iter()
            .enumerate()
            .map(|(i, v)| format!("{:.1},{:.1}", x(i), y(*v)));
        let points: Vec<_> = points.collect();
        let colour = one.colour;
        let _ = write!(
            page,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"/>",
            points.join(" ")
        );
        for (index, value) in one.values.iter().enumerate() {
            let (x, y) = (x(index), y(*value));
            let _ = write!(
                page,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.4\" fill=\"{colour}\"><title>{along} {index}, {}: {value:.2e}</title></circle>",
                escape(one.name)
            );
        }
    }
    page.push_str("</svg>\n");
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{LayerDistance, LayerSpread};
    use crate::receipt::PositionMetrics;

    fn receipt() -> ParityReceipt {
        let mut receipt = ParityReceipt::new("m.gguf", "llama", "<b>&");
        let spread = LayerSpread::of(&[]);
        receipt.layers = (0..3)
            .map(|layer| LayerDistance {
                layer,
                halves: false,
                free: spread,
                local: Some(spread),
                own: spread,
                norm_ours: 1.0,
                norm_theirs: 1.0,
            })
            .collect();
        receipt.rows = (0..5)
            .map(|pos| PositionMetrics {
                pos,
                mse: if pos == 3 { f64::INFINITY } else { 1e-5 },
                max_abs: 0.0,
                kl: Some(0.0),
                topk_agree: None,
                topk_gap: None,
                top5_rust: Vec::new(),
                top5_cpp: Vec::new(),
                nmse: None,
                cosine: None,
                choice: None,
                passed: Some(pos != 3),
                own_mse: Some(2e-5),
            })
            .collect();
        receipt.summary.first_layer = Some(1);
        receipt
    }

    #[test]
    fn the_page_stands_alone_and_draws_every_position_and_layer() {
        let page = html(&[&receipt()]);
        assert!(page.contains("&lt;b&gt;&amp;") && !page.contains("<b>&"));
        for outside in ["http://", "https://", "src=", "href=", "@import", "NaN"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg ").count(), 4);
        // 5 positions of two and one series, 3 layers of two and three.
        assert_eq!(page.matches("<circle ").count(), 5 * 3 + 3 * 5);
        // The position out of bounds and the layer that parts.
        assert_eq!(page.matches("stroke-dasharray").count(), 2);
    }
}
