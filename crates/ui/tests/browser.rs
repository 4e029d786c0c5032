//! The page in a real browser: what it shows, what happens on a click, by keyboard alone, in light and dark, narrow
//! and wide; and that the browser has nothing to complain of.

#[path = "support/chrome.rs"]
mod chrome;
#[path = "support/shop.rs"]
mod shop;

use chrome::Chrome;
use flowlog::Store;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const TOKEN: &str = "a-token-for-the-browser-test";

const EDGE: &str = "workload/production/frontend|workload/production/postgres-db|TCP/5432";

struct Page {
    chrome: Chrome,
    running: ui::Running,
    store: Arc<Store>,
    shop: shop::Shop,
}

/// A served page with the shop's story in it; `None` where there is no browser, which `scripts/setup.sh test` installs.
fn page() -> Option<Page> {
    page_of(Arc::new(shop::Answers))
}

fn page_of(node: Arc<dyn ui::Node>) -> Option<Page> {
    let Some(mut chrome) = Chrome::start(1440, 900) else {
        eprintln!("SKIPPED: no Chromium here; scripts/setup.sh test installs it");
        return None;
    };
    let store = Arc::new(Store::new(8192));
    let mut shop = shop::Shop::default();
    for record in shop.story() {
        store.push(record);
    }
    let token = ui::Token::new(TOKEN).expect("a token");
    let mut options = ui::Options::new(([127, 0, 0, 1], 0).into(), token);
    options.node_name = "node-1".into();
    let running = ui::start(options, Arc::clone(&store), node).expect("served");
    chrome.prefer("light");
    let page = Page { chrome, running, store, shop };
    Some(page)
}

impl Page {
    fn open(&mut self, hash: &str) {
        let url = format!("http://{}/#{hash}", self.running.address());
        // Another fragment alone would not load the page again.
        self.chrome.call("Page.navigate", json!({ "url": "about:blank" }));
        self.chrome.call("Page.navigate", json!({ "url": url }));
    }

    fn log_in(&mut self, hash: &str) {
        self.open(&format!("token={TOKEN}{hash}"));
        self.chrome.wait("document.querySelectorAll('.card').length > 5 && document.querySelectorAll('tr.flow').length > 5");
    }

    #[track_caller]
    fn no_complaints(&self) {
        assert_eq!(self.chrome.complaints, [""; 0]);
    }
}

fn edge(id: &str) -> String {
    format!("[...document.querySelectorAll('.edge')].find((e) => e.dataset.id === {})", json!(id))
}

fn mark(id: &str) -> String {
    edge(id).replace("'.edge'", "'.mark'")
}

#[test]
fn logging_in_takes_the_token_and_hides_it() {
    let Some(mut page) = page() else { return };
    page.open("");
    page.chrome.wait("!document.getElementById('login').hidden && document.activeElement.id === 'token'");
    page.chrome.shoot("login");
    // That one is told 401 is what this is about.
    page.chrome.complaints.clear();
    page.chrome.type_text("a-token-that-is-wrong");
    page.chrome.key("Enter");
    page.chrome.wait("document.getElementById('login-error').textContent.includes('token')");
    page.chrome.complaints.clear();
    page.chrome.eval("document.getElementById('token').select()");
    page.chrome.type_text(TOKEN);
    page.chrome.key("Enter");
    page.chrome.wait("document.querySelectorAll('.card').length > 5");
    assert_eq!(page.chrome.eval("document.cookie"), json!(""), "scripts see the session");

    // The session outlives a reload, and the token is not left in the address.
    page.log_in("&ns=production");
    assert!(!page.chrome.eval("location.href").as_str().expect("text").contains(TOKEN));
    assert_eq!(page.chrome.eval("document.getElementById('namespace').value"), json!("production"));
    page.no_complaints();
    page.chrome.click("document.getElementById('logout')");
    page.chrome.wait("!document.getElementById('login').hidden && document.getElementById('app').hidden");
}

#[test]
fn the_map_and_the_table_show_what_happened() {
    let Some(mut page) = page() else { return };
    page.log_in("");
    let chrome = &mut page.chrome;
    let names = chrome.eval("[...document.querySelectorAll('.card-name')].map((e) => e.textContent).sort()");
    let expected = [
        "api-service",
        "api.stripe.com",
        "cart",
        "checkout",
        "frontend",
        "host",
        "kafka",
        "kube-dns",
        "monitoring-service",
        "payment-service",
        "postgres-db",
        "prometheus",
        "recommendation-service",
        "world",
    ];
    assert_eq!(names, json!(expected));
    let look = |id: &str| format!("{}.getAttribute('class').split(' ')[1]", edge(id));
    let from_to = |from: &str, to: &str| format!("workload/production/{from}|workload/production/{to}");
    for (id, class) in [
        (EDGE.to_owned(), "dropped"),
        (from_to("api-service", "postgres-db|TCP/5432"), "forwarded"),
        (from_to("frontend", "api-service|TCP/8080"), "dropped"),
        (from_to("cart", "checkout|TCP/7070"), "audit"),
        (format!("{}|TCP/8443", from_to("checkout", "payment-service")), "forwarded"),
    ] {
        assert_eq!(chrome.eval(&look(&id)), json!(class), "{id}");
    }
    let label = chrome.eval(&format!("{}.getAttribute('aria-label')", edge(EDGE)));
    assert_eq!(label, json!("frontend to postgres-db, 5432/TCP, dropped, 3 records in the last minute"));
    let card = |name: &str| {
        format!(
            "[...document.querySelectorAll('.card')].find((e) => e.querySelector('.card-name').textContent === '{name}').innerText"
        )
    };
    let api = chrome.eval(&card("api-service"));
    for part in ["8080/TCP", "GET /api/v1/products", "POST /api/v1/orders", "9090/TCP", "✕ 1"] {
        assert!(api.as_str().expect("text").contains(part), "{part}: {api}");
    }
    assert!(chrome.eval(&card("checkout")).as_str().expect("text").contains("shop.Checkout/PlaceOrder"));
    assert!(chrome.eval(&card("kafka")).as_str().expect("text").contains("produce orders"));
    assert!(chrome.eval(&card("kube-dns")).as_str().expect("text").contains("api.stripe.com A"));
    // No two cards on top of each other.
    let overlaps = chrome.eval(
        "(() => { const r = [...document.querySelectorAll('.card')].map((c) => c.getBoundingClientRect()); let n = 0; \
         for (const a of r) for (const b of r) if (a !== b && a.x < b.right && b.x < a.right && a.y < b.bottom && b.y < a.bottom) n += 1; return n; })()",
    );
    assert_eq!(overlaps, json!(0));
    let rows = chrome.eval("[...document.querySelectorAll('tr.flow')].length");
    assert!(rows.as_u64().expect("a number") >= 10, "{rows}");
    let first = chrome.eval("document.querySelector('tr.flow').innerText");
    assert!(first.as_str().expect("text").contains("production/monitoring-service-1"), "{first}");
    chrome.shoot("light");
    page.no_complaints();
}

#[test]
fn filters_and_toggles_narrow_it_down() {
    let Some(mut page) = page() else { return };
    page.log_in("");
    let count = "Number(document.querySelector('.flow-table').getAttribute('aria-rowcount')) - 1";
    page.chrome.click("document.querySelector('[data-verdict=DROPPED]')");
    page.chrome.wait(&format!("{count} === 7"));
    assert_eq!(
        page.chrome
            .eval("[...new Set([...document.querySelectorAll('tr.flow .badge')].map((e) => e.textContent))]"),
        json!(["✕ dropped"])
    );
    page.chrome.eval("document.getElementById('filter-key').value = 'to-port'; document.getElementById('filter-value').focus()");
    page.chrome.type_text("5432");
    page.chrome.key("Enter");
    page.chrome.wait(&format!("{count} === 3"));
    assert_eq!(page.chrome.eval("location.hash"), json!("#to-port=5432&v=DROPPED"));
    page.chrome.click("document.querySelector('#filter-list button')");
    page.chrome.wait(&format!("{count} === 7"));
    page.chrome.click("document.querySelector('[data-verdict=\"\"]')");
    page.chrome.eval("document.getElementById('text').focus()");
    page.chrome.type_text("stripe");
    page.chrome.wait(&format!("{count} === 2"));
    page.chrome.eval("document.getElementById('text').value = ''; document.getElementById('text').dispatchEvent(new Event('input'))");
    page.chrome.wait(&format!("{count} > 20"));
    // What cannot be read is said, and the browser logs the answer 400.
    page.chrome.eval("document.getElementById('filter-value').focus()");
    page.chrome.type_text("no-port");
    page.chrome.key("Enter");
    page.chrome.wait("document.getElementById('filter-error').textContent.includes('no-port')");
    page.chrome.click("document.querySelector('#filter-list button')");
    page.chrome.wait("document.getElementById('filter-error').textContent === ''");
    page.chrome.complaints.clear();

    page.chrome.click("document.querySelector('#hide input[value=kube-dns]')");
    page.chrome
        .wait("![...document.querySelectorAll('.card-name')].some((e) => e.textContent === 'kube-dns')");
    page.chrome
        .wait("![...document.querySelectorAll('tr.flow')].some((e) => e.innerText.includes('coredns'))");
    page.chrome.eval("const s = document.getElementById('namespace'); s.value = 'kafka'; s.dispatchEvent(new Event('change'))");
    page.chrome.wait("document.querySelectorAll('.card').length === 2");
    let command = "import('/filters.js').then((m) => m.Filters.fromHash(location.hash.slice(1)).command())";
    assert_eq!(
        page.chrome.eval(command),
        json!("sluice observe --namespace kafka --not --label k8s-app=kube-dns --follow")
    );
    page.no_complaints();
}

#[test]
fn a_denied_edge_is_explained_and_a_policy_suggested() {
    let Some(mut page) = page() else { return };
    page.log_in("&ns=production");
    page.chrome.click(&mark(EDGE));
    page.chrome.wait("document.getElementById('yaml') !== null");
    let text = page.chrome.eval("document.getElementById('panel').innerText");
    for part in [
        "frontend → postgres-db",
        "Denied by the egress side of production/frontend-7c9d8-x2: none of its rules allows 5432/TCP.",
        "no egress rule of production/frontend-7c9d8-x2 allows 5432/TCP to production/postgres-db-0",
        "policies/default-deny-all.yaml:9",
        "POLICY_DENIED (Policy denied)",
        "3 dropped",
        "from 3 denied flows",
    ] {
        assert!(text.as_str().expect("text").contains(part), "{part}: {text}");
    }
    let yaml = page.chrome.eval("document.getElementById('yaml').textContent");
    assert!(yaml.as_str().expect("text").contains("kind: CiliumNetworkPolicy"), "{yaml}");
    assert_eq!(page.chrome.eval("document.activeElement.id"), json!("panel-title"));
    page.chrome.shoot("explained");
    page.chrome.key("Escape");
    assert_eq!(page.chrome.eval("document.getElementById('panel').hidden"), json!(true));
    // The focus is back where it came from.
    assert_eq!(page.chrome.eval("document.activeElement.dataset.id"), json!(EDGE));

    page.chrome.click("[...document.querySelectorAll('tr.flow')].find((e) => e.innerText.includes('admin/metrics') && e.innerText.includes('dropped'))");
    page.chrome.wait("document.getElementById('panel').innerText.includes('As JSON')");
    let text = page.chrome.eval("document.getElementById('panel').innerText");
    for part in ["policies/allow-frontend-to-api.yaml:17", "k8s:app=frontend", "10.244.1.10 port"] {
        assert!(text.as_str().expect("text").contains(part), "{part}: {text}");
    }
    page.chrome.shoot("flow");
    page.no_complaints();
}

#[test]
fn a_span_of_time_shows_what_the_node_kept() {
    let mut shop = shop::Shop::default();
    let mut kept: Vec<_> = shop.story().into_iter().map(Arc::new).collect();
    // An hour before everything that memory has.
    for record in &mut kept {
        let record = Arc::make_mut(record);
        let at = record.time.expect("a time").0.as_nanosecond() - 3_600_000_000_000;
        record.time = Some(flowlog::record::Time::from_nanos(at));
        record.uuid = format!("kept-{}", record.uuid);
    }
    let Some(mut page) = page_of(Arc::new(shop::Keeper(kept))) else { return };
    page.log_in("");
    let set = "(() => { const box = document.getElementById('until'); box.value = new Date(Date.parse('2025-11-21T09:30:00Z') - \
               new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 19); box.dispatchEvent(new Event('change')); })()";
    page.chrome.eval(set);
    page.chrome.wait("location.hash.includes('until=2025-11-21T09') && !document.getElementById('live').hidden && document.querySelectorAll('tr.flow').length > 5");
    page.chrome.wait("document.getElementById('flow-count').textContent.includes('shown')");
    let hours = "[...new Set([...document.querySelectorAll('tr.flow td:first-child')].map((cell) => cell.innerText.slice(0, 2)))]";
    let hour = "[String(new Date('2025-11-21T09:00:00Z').getHours()).padStart(2, '0')]";
    assert_eq!(page.chrome.eval(hours), page.chrome.eval(hour), "rows of then, and none of now");
    // What comes is not mixed in.
    let new = page.shop.allowed(shop::newcomer(), shop::FRONTEND, "TCP", 8080, "allow-newcomer");
    page.store.push(new);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(
        page.chrome.eval("document.getElementById('table').innerText.includes('newcomer')"),
        json!(false)
    );
    page.chrome.shoot("span");
    page.chrome.click("[...document.querySelectorAll('tr.flow')].find((e) => e.innerText.includes('admin/metrics') && e.innerText.includes('dropped'))");
    page.chrome.wait("document.getElementById('panel').innerText.includes('As JSON')");
    page.chrome.key("Escape");
    page.chrome.click("document.getElementById('live')");
    page.chrome.wait("document.getElementById('table').innerText.includes('newcomer')");
    page.no_complaints();
}

#[test]
fn new_flows_arrive_and_the_cards_stay_where_they_are() {
    let Some(mut page) = page() else { return };
    page.log_in("");
    let places = "Object.fromEntries([...document.querySelectorAll('.card')].map((c) => [c.dataset.id, c.style.transform]))";
    let before = page.chrome.eval(places);
    for record in page.shop.http(shop::FRONTEND, "DELETE", "/api/v1/cart", 204) {
        page.store.push(record);
    }
    let new = page.shop.allowed(shop::newcomer(), shop::FRONTEND, "TCP", 8080, "allow-newcomer");
    page.store.push(new);
    page.chrome
        .wait("[...document.querySelectorAll('.card-name')].some((e) => e.textContent === 'newcomer')");
    page.chrome.wait("document.querySelector('tr.flow').innerText.includes('newcomer')");
    let after = page.chrome.eval(places);
    for (id, place) in before.as_object().expect("an object") {
        let column = |place: &Value| place.as_str().expect("text").split(',').next().map(str::to_owned);
        assert_eq!(column(place), column(&after[id]), "{id} moved to another column");
    }
    // A card may only have been pushed down by one that grew.
    assert_eq!(before["workload/production/frontend"], after["workload/production/frontend"]);
    page.chrome.click("document.getElementById('pause')");
    page.chrome.wait("document.getElementById('state-text').textContent === 'paused'");
    let late = page.shop.allowed(shop::newcomer(), shop::FRONTEND, "TCP", 9999, "allow-newcomer");
    page.store.push(late);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        page.chrome.eval("document.querySelector('tr.flow').innerText.includes('9999')"),
        json!(false)
    );
    page.chrome.click("document.getElementById('pause')");
    page.chrome.wait("document.querySelector('tr.flow').innerText.includes('9999')");
    page.no_complaints();
}

#[test]
fn everything_is_reached_by_keyboard() {
    let Some(mut page) = page() else { return };
    page.log_in("&ns=production");
    page.chrome.eval("document.activeElement.blur()");
    let name = "(() => { const e = document.activeElement; return e === document.body ? '' : \
                (e.id || e.dataset?.id || e.dataset?.verdict || e.getAttribute('aria-label') || e.closest('.card')?.dataset.id || e.value || e.textContent).trim(); })()";
    let mut reached = Vec::new();
    for _ in 0..150 {
        page.chrome.key("Tab");
        let at = page.chrome.eval(name).as_str().unwrap_or_default().to_owned();
        if at.is_empty() && !reached.is_empty() {
            break;
        }
        let visible = page.chrome.eval(
            "(() => { const s = getComputedStyle(document.activeElement); const h = document.activeElement.querySelector?.('.hit'); \
             return s.outlineStyle !== 'none' || (h !== null && h !== undefined && getComputedStyle(h).stroke !== 'rgba(0, 0, 0, 0)'); })()",
        );
        assert_eq!(visible, json!(true), "the focus is not seen on {at}");
        reached.push(at);
    }
    for wanted in [
        "Skip to the service map",
        "namespace",
        "kube-dns",
        "prometheus",
        "pause",
        "theme",
        "logout",
        "as-map",
        "as-list",
        "zoom-in",
        "zoom-out",
        "zoom-fit",
        "arrange",
        "map",
        "workload/production/frontend",
        EDGE,
        "DROPPED",
        "text",
        "filter-key",
        "filter-value",
        "filter-not",
        "copy-observe",
    ] {
        assert!(reached.iter().any(|name| name == wanted), "{wanted} is not reached: {reached:?}");
    }
    assert!(reached.iter().any(|name| name.starts_with("Details of the flow")), "{reached:?}");

    // The way past the map, which must not cost the filters.
    page.chrome.eval("document.querySelectorAll('.skip')[1].focus()");
    page.chrome.key("Enter");
    page.chrome.wait("document.activeElement.id === 'flows-title' && location.hash === '#ns=production'");
    // An edge, by Enter.
    page.chrome.eval(&format!("{}.focus()", edge(EDGE)));
    page.chrome.key("Enter");
    page.chrome.wait("document.getElementById('yaml') !== null");
    page.chrome.key("Escape");
    // Rows, by arrows.
    page.chrome.eval("document.querySelector('tr.flow button').focus()");
    let first = page.chrome.eval("document.activeElement.closest('tr').dataset.seq");
    page.chrome.key("ArrowDown");
    page.chrome.key("ArrowDown");
    let third = page.chrome.eval("document.activeElement.closest('tr').dataset.seq");
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok()).expect("a number");
    assert_eq!(number(&first) - number(&third), 2);
    page.chrome.key("Enter");
    page.chrome.wait("!document.getElementById('panel').hidden");
    page.chrome.key("Escape");
    assert_eq!(page.chrome.eval("document.activeElement.closest('tr').dataset.seq"), third);
    // The map as a list.
    page.chrome.eval("document.getElementById('as-list').focus()");
    page.chrome.key("Enter");
    page.chrome.wait("document.querySelectorAll('.edge-table tbody tr').length > 10");
    page.chrome.shoot("list");
    page.chrome.eval("document.querySelector('[aria-label=\"Explain: production/frontend to production/postgres-db, 5432/TCP\"]').focus()");
    page.chrome.key(" ");
    page.chrome.wait("document.getElementById('yaml') !== null");
    page.no_complaints();
}

#[test]
fn light_and_dark_wide_and_narrow() {
    let Some(mut page) = page() else { return };
    page.log_in("&ns=production");
    let ground = "getComputedStyle(document.body).backgroundColor";
    assert_eq!(page.chrome.eval(ground), json!("rgb(244, 246, 249)"));
    page.chrome.prefer("dark");
    assert_eq!(page.chrome.eval(ground), json!("rgb(14, 19, 26)"));
    page.chrome.shoot("dark");
    page.chrome.click("document.getElementById('theme')");
    assert_eq!(page.chrome.eval(ground), json!("rgb(244, 246, 249)"));
    page.chrome.click("document.getElementById('theme')");
    page.chrome.prefer("light");
    assert_eq!(page.chrome.eval(ground), json!("rgb(14, 19, 26)"));
    page.log_in("");
    assert_eq!(page.chrome.eval(ground), json!("rgb(14, 19, 26)"), "the choice is not kept");
    page.chrome.size(400, 860);
    page.chrome.wait("document.documentElement.scrollWidth <= 400");
    page.chrome.shoot("narrow");
    page.no_complaints();
}

#[test]
fn the_page_passes_the_accessibility_checks() {
    let Some(mut page) = page() else { return };
    page.log_in("&ns=production");
    page.chrome.click(&mark(EDGE));
    page.chrome.wait("document.getElementById('yaml') !== null");
    // What a screen reader gets: everything that can be operated has a name.
    let tree = page.chrome.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().expect("a tree");
    let operated = ["button", "link", "textbox", "searchbox", "combobox", "checkbox"];
    let mut named = 0;
    for node in nodes.iter().filter(|node| node["ignored"] == json!(false)) {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        if operated.contains(&role) {
            assert!(!node["name"]["value"].as_str().unwrap_or_default().trim().is_empty(), "{node}");
            named += 1;
        }
    }
    assert!(named > 40, "{named}");

    let Some(script) = axe() else {
        eprintln!("SKIPPED axe: not installed; scripts/setup.sh test installs it");
        return;
    };
    let script = std::fs::read_to_string(script).expect("readable");
    for theme in ["light", "dark"] {
        page.chrome.prefer(theme);
        std::thread::sleep(Duration::from_millis(300));
        page.chrome.eval(&format!("{script}; true"));
        let run = "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']}).then((r) => \
                   r.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target + ' ' + n.failureSummary).slice(0, 3).join('; ')}`))";
        let violations = page.chrome.eval(run);
        assert_eq!(violations, json!([]), "{theme}: {violations:#}");
    }
}

/// The accessibility checker, where `scripts/setup.sh` puts it.
fn axe() -> Option<PathBuf> {
    let peers = std::env::var("SLUICE_PEERS").unwrap_or_else(|_| "/opt/sluice-peers".into());
    let folders = std::fs::read_dir(PathBuf::from(peers).join("lib")).ok()?;
    let files =
        folders.flatten().map(|folder| folder.path().join("site-packages/axe_playwright_python/axe.min.js"));
    files.into_iter().find(|file| file.exists())
}
