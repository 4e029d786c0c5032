//! The terminal: three tables, redrawn in place, and the keys.

use super::model::Picture;
use anyhow::{Context as _, Result};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use std::time::Duration;

/// What a key asks for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Quit,
    Pause,
    Sort,
}

/// The terminal in the state for drawing; as it was before when dropped, also after a panic.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    pub(super) fn open() -> Result<Self> {
        Ok(Self { terminal: ratatui::try_init().context("use the terminal")? })
    }

    pub(super) fn draw(&mut self, picture: &Picture, paused: bool) -> Result<()> {
        self.terminal.draw(|frame| draw(frame, picture, paused)).context("draw")?;
        Ok(())
    }

    /// The next key within that time that means something.
    pub(super) fn key(&self, within: Duration) -> Result<Option<Key>> {
        if !event::poll(within).context("read keys")? {
            return Ok(None);
        }
        let Event::Key(key) = event::read().context("read keys")? else { return Ok(None) };
        if key.kind != KeyEventKind::Press {
            return Ok(None);
        }
        Ok(match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Key::Quit),
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Quit),
            KeyCode::Char('p' | ' ') => Some(Key::Pause),
            KeyCode::Char('s') => Some(Key::Sort),
            _ => None,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture, paused: bool) {
    let tables = picture.tables();
    let errors = u16::try_from(picture.health.errors.len().min(3)).unwrap_or(0);
    let part = Constraint::Fill(1);
    let areas = Layout::vertical([Constraint::Length(1 + errors), part, part, part, Constraint::Length(1)]);
    let [head, flows, requests, drops, foot] = areas.areas(frame.area());
    let health = Style::new().fg(if picture.health.healthy { Color::Green } else { Color::Red });
    let mut lines = vec![Line::from(Span::styled(picture.head(), health.add_modifier(Modifier::BOLD)))];
    lines.extend(picture.health.errors.iter().take(3).map(|error| Line::from(format!("error: {error}"))));
    frame.render_widget(Paragraph::new(lines), head);
    for ((title, names, rows), area) in tables.into_iter().zip([flows, requests, drops]) {
        let widths = widths(&names, &rows);
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let table = Table::new(rows.into_iter().map(Row::new), widths)
            .header(Row::new(names).style(bold))
            .column_spacing(2)
            .block(Block::new().borders(Borders::TOP).title(format!(" {title} ")));
        frame.render_widget(table, area);
    }
    let state = if paused { "PAUSED   " } else { "" };
    let order = format!("{:?}", picture.order).to_lowercase();
    let keys = format!("{state}q quit   p pause   s sort flows (by {order})");
    frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
}

/// Each column as wide as its widest cell.
fn widths(names: &[&str], rows: &[Vec<String>]) -> Vec<Constraint> {
    let width = |column: usize, name: &str| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([name.len()]).max().unwrap_or(0)
    };
    let wide = |length: usize| Constraint::Length(u16::try_from(length.min(80)).unwrap_or(80));
    names.iter().enumerate().map(|(column, name)| wide(width(column, name))).collect()
}
