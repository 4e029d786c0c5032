//! Cost by number, as the report shows it: one section for each axis, one chart for each unit of it.

use crate::chart::{LABEL, LINES, LINES_HEIGHT, TITLE, WIDTH, failed};
use anyhow::{Context, Result};
use plotters::prelude::*;
use sluice_micro::scaling::{Run, Series, folder, number};
use std::fmt::Write as _;

/// What the benches have left in their folder, in the order of the names; with a word about what cannot be read.
///
/// # Errors
/// The folder is there and cannot be read.
pub fn load() -> Result<Vec<Run>> {
    let folder = folder();
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    let mut runs = Vec::new();
    for path in paths {
        match Run::load(&path) {
            Ok(run) => runs.push(run),
            Err(error) => println!("{} is left out: {error}", path.display()),
        }
    }
    Ok(runs)
}

/// Adds the sections to the page, and their charts to the files beside it.
///
/// # Errors
/// A chart cannot be drawn.
pub fn sections(page: &mut String, files: &mut Vec<(String, String)>, runs: &[Run]) -> Result<()> {
    let all = || runs.iter().flat_map(|run| &run.series);
    let mut axes: Vec<&str> = Vec::new();
    for series in all() {
        if !axes.contains(&series.axis.as_str()) {
            axes.push(&series.axis);
        }
    }
    for axis in axes {
        // Formatting into a string cannot fail.
        let _ok = write!(page, "\n## Cost by number of {axis}\n");
        let mut units: Vec<&str> = Vec::new();
        for series in all().filter(|series| series.axis == axis) {
            if units.contains(&series.unit.as_str()) {
                continue;
            }
            units.push(&series.unit);
            let lines: Vec<&Series> =
                all().filter(|other| other.axis == axis && other.unit == series.unit).collect();
            if let Some(svg) = chart(&lines)? {
                let name =
                    format!("bench-scaling-{}.svg", crate::page::slug(&format!("{axis} {}", series.unit)));
                let _ok = write!(page, "\n![{} by number of {axis}]({name})\n", series.unit);
                files.push((name, svg));
            }
        }
        for run in runs {
            let here: Vec<&Series> = run.series.iter().filter(|series| series.axis == axis).collect();
            if here.is_empty() {
                continue;
            }
            let _ok = write!(page, "\n`{}`, {}.\n", run.command, run.machine.line());
            for series in here {
                let _ok = write!(page, "\n**{}**\n\n{}", series.name, series.markdown());
            }
        }
    }
    Ok(())
}

/// A line for each series, its medians by number; `None` where there are not two numbers.
fn chart(lines: &[&Series]) -> Result<Option<String>> {
    let drawn: Vec<(&str, Vec<(f64, f64)>)> = lines
        .iter()
        .map(|series| {
            let point = |x: u32| Some((f64::from(x), series.value(x)?.median));
            let mut points: Vec<(f64, f64)> = series.points.iter().filter_map(|at| point(at.x)).collect();
            points.retain(|(x, _)| *x > 0.0);
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            (series.name.as_str(), points)
        })
        .collect();
    let all = || drawn.iter().flat_map(|(_, points)| points);
    let least = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = all().map(|point| point.0).fold(0.0, f64::max);
    let top = all().map(|point| point.1).fold(0.0, f64::max);
    if least >= most || top <= 0.0 {
        return Ok(None);
    }
    let (axis, unit) = lines.first().map_or(("", ""), |series| (series.axis.as_str(), series.unit.as_str()));
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, LINES_HEIGHT)).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{unit} by number of {axis}"), TITLE)
            .margin(10)
            .margin_right(30)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d((least..most).log_scale(), 0.0..top * 1.35)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .label_style(LABEL)
            .x_desc(axis)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .draw()
            .map_err(failed)?;
        for ((name, points), colour) in drawn.iter().zip(LINES.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))
                .map_err(failed)?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
            chart
                .draw_series(points.iter().map(|point| {
                    EmptyElement::at(*point)
                        + Circle::new((0, 0), 3, colour.filled())
                        + Text::new(number(point.1), (-10, -18), LABEL)
                }))
                .map_err(failed)?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE)
            .border_style(BLACK)
            .label_font(LABEL)
            .draw()
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, axis: &str, name: &str, unit: &str, values: &[(u32, f64)]) -> Run {
        let mut series = Series::new(axis, name, unit);
        for (x, value) in values {
            series.add(*x, *value);
        }
        Run { command: command.to_owned(), series: vec![series], ..Run::default() }
    }

    #[test]
    fn each_axis_has_one_section_and_each_unit_of_it_one_chart() {
        let runs = [
            run("first", "pods", "between pods", "ns/frame", &[(2, 300.0), (110, 310.0)]),
            run("second", "pods", "in memory", "ns/frame", &[(2, 90.0), (110, 95.0)]),
            run("third", "pods", "idle", "% of a core", &[(20, 0.4), (110, 1.2)]),
            run("fourth", "workers", "frames", "frame/s", &[(1, 10.0)]),
        ];
        let (mut page, mut files) = (String::new(), Vec::new());
        sections(&mut page, &mut files, &runs).expect("drawn");
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["bench-scaling-pods-ns-frame.svg", "bench-scaling-pods-of-a-core.svg"]);
        assert!(files[0].1.contains("between pods") && files[0].1.contains("in memory"), "{}", files[0].1);
        assert_eq!(page.matches("## Cost by number of pods\n").count(), 1, "{page}");
        for expected in
            ["`first`", "`second`", "`third`", "`fourth`", "| 110 | 310 (310–310) | 1.03 (1.03–1.03) |"]
        {
            assert!(page.contains(expected), "no {expected} in\n{page}");
        }
        assert!(page.contains("## Cost by number of workers\n"), "{page}");
    }
}
