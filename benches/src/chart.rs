//! Charts of a table as SVG: a bar for each contender, and lines of rate by number of rules.

use crate::report::{Table, figure};
use crate::sample::{Spread, spread};
use anyhow::{Context, Result, anyhow};
use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Display;

/// Pixels.
pub(crate) const WIDTH: u32 = 860;
const BAR_HEIGHT: u32 = 26;
pub(crate) const LINES_HEIGHT: u32 = 360;
pub(crate) const TITLE: (&str, i32) = ("sans-serif", 17);
pub(crate) const LABEL: (&str, i32) = ("sans-serif", 13);
/// The reference, and the others.
const OURS: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const OTHERS: RGBColor = RGBColor(0xa6, 0xb1, 0xbb);
pub(crate) const LINES: [RGBColor; 4] =
    [OURS, RGBColor(0xd6, 0x27, 0x28), RGBColor(0x2c, 0xa0, 0x2c), RGBColor(0x94, 0x67, 0xbd)];

/// Medians of the rates, each with the least and the most; who has the reference's first word is in its colour.
///
/// # Errors
/// There is nothing to draw.
pub fn bars(table: &Table) -> Result<String> {
    let rows: Vec<(&str, Spread)> = table
        .rows
        .iter()
        .filter_map(|row| {
            Some((row.contender.as_str(), spread(row.samples.iter().map(|sample| sample.rate))?))
        })
        .collect();
    let most = rows.iter().map(|(_, rate)| rate.most).fold(0.0, f64::max);
    let count = i32::try_from(rows.len())?;
    let word = |name: &str| name.split([' ', ',']).next().unwrap_or_default().to_owned();
    let ours = word(&table.reference);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, 80 + BAR_HEIGHT * u32::try_from(rows.len())?))
            .into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{}: {}/s", table.name, table.unit), TITLE)
            .margin(8)
            .margin_right(90)
            .x_label_area_size(28)
            .y_label_area_size(270)
            .build_cartesian_2d(0.0..most.max(1.0) * 1.02, (0..count - 1).into_segmented())
            .map_err(failed)?;
        let named = |at: &SegmentValue<i32>| match at {
            SegmentValue::CenterOf(at) => usize::try_from(count - 1 - at)
                .ok()
                .and_then(|row| rows.get(row))
                .map_or_else(String::new, |(name, _)| (*name).to_owned()),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(WHITE)
            .label_style(LABEL)
            .y_labels(rows.len() + 1)
            .x_labels(6)
            .x_label_formatter(&|value| figure(*value))
            .y_label_formatter(&named)
            .draw()
            .map_err(failed)?;
        for (at, (name, rate)) in (0..count).rev().zip(&rows) {
            let colour = if word(name) == ours { OURS } else { OTHERS };
            let (from, to) = (SegmentValue::Exact(at), SegmentValue::Exact(at + 1));
            let mut bar = Rectangle::new([(0.0, from), (rate.median, to)], colour.filled());
            bar.set_margin(4, 4, 0, 0);
            chart.draw_series([bar]).map_err(failed)?;
            let middle = || SegmentValue::CenterOf(at);
            chart
                .draw_series([PathElement::new([(rate.least, middle()), (rate.most, middle())], BLACK)])
                .map_err(failed)?;
            let label =
                EmptyElement::at((rate.most, middle())) + Text::new(figure(rate.median), (5, -6), LABEL);
            chart.draw_series([label]).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(text)
}

/// What rules cost: a line for each series of at least two numbers, rates in parts of its rate at the least number.
/// `None` where the table has none.
///
/// # Errors
/// It cannot be drawn.
pub fn lines(table: &Table) -> Result<Option<String>> {
    let mut series: BTreeMap<&str, BTreeMap<u32, f64>> = BTreeMap::new();
    for row in &table.rows {
        // Nothing at all has no place on an axis of powers of ten.
        if let Some((name, count)) = row.series.as_ref().filter(|(_, count)| *count > 0)
            && let Some(rate) = spread(row.samples.iter().map(|sample| sample.rate))
        {
            series.entry(name).or_default().insert(*count, rate.median);
        }
    }
    series.retain(|_, points| points.len() > 1);
    let counts = || series.values().flat_map(BTreeMap::keys).copied();
    let (Some(least), Some(most)) = (counts().min(), counts().max()) else { return Ok(None) };
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, LINES_HEIGHT)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{}: rate by number of rules, 1 = with the fewest", table.name), TITLE)
            .margin(10)
            .margin_right(30)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d((f64::from(least)..f64::from(most)).log_scale(), 0.0..1.2)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .label_style(LABEL)
            .x_desc("policies or rules")
            .x_label_formatter(&|value| figure(*value))
            .draw()
            .map_err(failed)?;
        for ((name, points), colour) in series.iter().zip(LINES.iter().cycle()) {
            let first = points.values().next().copied().context("two points at least")?;
            let drawn: Vec<(f64, f64)> =
                points.iter().map(|(count, rate)| (f64::from(*count), rate / first)).collect();
            let dots = drawn.iter().map(|point| Circle::new(*point, 4, colour.filled()));
            chart.draw_series(dots).map_err(failed)?;
            chart
                .draw_series(LineSeries::new(drawn, colour.stroke_width(2)))
                .map_err(failed)?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .label_font(LABEL)
            .background_style(WHITE)
            .border_style(BLACK.mix(0.3))
            .position(SeriesLabelPosition::LowerLeft)
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(Some(text))
}

pub(crate) fn failed(error: impl Display) -> anyhow::Error {
    anyhow!("drawing a chart: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn table(rates: &[(&str, u32, f64)]) -> Table {
        let mut table = Table::new("TCP_RR", "transaction", "Sluice, 1 policy");
        for (name, count, rate) in rates {
            let series = (*count > 0).then(|| ((*name).to_owned(), *count));
            let sample = Sample { rate: *rate, ..Sample::default() };
            table.add(&format!("{name}, {count} <rules>"), series, sample);
        }
        table
    }

    #[test]
    fn every_contender_has_a_bar_and_its_median_beside_it() {
        let svg = bars(&table(&[("Sluice", 1, 20_752.0), ("iptables", 0, 4_000.0)])).expect("drawn");
        for expected in ["<svg", "20,752", "4,000", "Sluice, 1 &lt;rules&gt;", "#1F77B4", "#A6B1BB", "</svg>"]
        {
            assert!(svg.contains(expected), "no {expected} in {svg}");
        }
        let end_of_bars = svg.matches("<rect").count();
        assert!(end_of_bars >= 3, "a ground and two bars:\n{svg}");
    }

    #[test]
    fn lines_need_two_points() {
        let one = table(&[("Sluice", 1, 10.0), ("nft", 0, 9.0)]);
        assert_eq!(lines(&one).expect("nothing to draw"), None);
        let two = table(&[("Sluice", 1, 10.0), ("Sluice", 1_000, 9.9), ("iptables", 1, 9.0)]);
        let svg = lines(&two).expect("drawn").expect("two points");
        assert!(svg.contains("Sluice") && !svg.contains("iptables"), "{svg}");
    }
}
