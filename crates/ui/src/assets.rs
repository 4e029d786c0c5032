//! The files of the page, part of the program.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Path, type, content.
type Asset = (&'static str, &'static str, &'static str);

const SCRIPT: &str = "text/javascript; charset=utf-8";

const ASSETS: &[Asset] = &[
    ("/", "text/html; charset=utf-8", include_str!("../web/index.html")),
    ("/style.css", "text/css; charset=utf-8", include_str!("../web/style.css")),
    ("/icon.svg", "image/svg+xml", include_str!("../web/icon.svg")),
    ("/main.js", SCRIPT, include_str!("../web/main.js")),
    ("/dom.js", SCRIPT, include_str!("../web/dom.js")),
    ("/server.js", SCRIPT, include_str!("../web/server.js")),
    ("/filters.js", SCRIPT, include_str!("../web/filters.js")),
    ("/layout.js", SCRIPT, include_str!("../web/layout.js")),
    ("/map.js", SCRIPT, include_str!("../web/map.js")),
    ("/edges.js", SCRIPT, include_str!("../web/edges.js")),
    ("/table.js", SCRIPT, include_str!("../web/table.js")),
    ("/panel.js", SCRIPT, include_str!("../web/panel.js")),
];

/// A file of the page. They hold no secret and are served to anybody who asks this host.
pub(crate) async fn serve(uri: Uri, headers: HeaderMap) -> Response {
    let Some((_, kind, content)) = ASSETS.iter().find(|(path, ..)| *path == uri.path()) else {
        return (StatusCode::NOT_FOUND, "no such page\n").into_response();
    };
    let tag = tag(content);
    // The browser keeps the files and asks whether they are still the same.
    let common = [(CACHE_CONTROL, "no-cache".to_owned()), (ETAG, tag.clone())];
    if headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, *kind)], *content).into_response()
}

fn tag(content: &str) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page that is slow to load over a tunnel is not opened at three in the morning.
    const MOST: usize = 150 << 10;

    #[test]
    fn the_page_is_small_and_loads_nothing_from_elsewhere() {
        let size: usize = ASSETS.iter().map(|(_, _, content)| content.len()).sum();
        assert!(size < MOST, "{size} bytes");
        for (path, _, content) in ASSETS {
            for line in content.lines() {
                let foreign = line.replace("http://www.w3.org/2000/svg", "");
                assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{path}: {line}");
                for wrong in ["innerHTML", "eval(", "document.write", "style=\"", "onclick=", "javascript:"] {
                    assert!(!line.contains(wrong), "{path}: {line}");
                }
            }
        }
    }

    #[test]
    fn every_file_that_is_asked_for_exists() {
        let paths: Vec<&str> = ASSETS.iter().map(|(path, ..)| path.trim_start_matches('/')).collect();
        for (path, kind, content) in ASSETS.iter().filter(|(_, kind, _)| *kind != "image/svg+xml") {
            let marks: &[&str] = if *kind == SCRIPT { &["from \"./"] } else { &["src=\"/", "href=\"/"] };
            for mark in marks {
                for part in content.split(mark).skip(1) {
                    let wanted = part.split('"').next().unwrap_or_default();
                    assert!(paths.contains(&wanted), "{path} asks for {wanted}");
                }
            }
        }
    }
}
