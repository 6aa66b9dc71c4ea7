// Keyboard, theme and small courtesies, the same on every page; nothing here knows any data.
(() => {
  const root = document.documentElement;
  const kept = localStorage.getItem("theme");
  if (kept) root.dataset.theme = kept;
  if (location.hash.startsWith("#code=")) history.replaceState(null, "", location.pathname + location.search);

  const $ = (query) => document.querySelector(query);
  const visible = (e) => e && e.offsetParent !== null;
  const press = (key) => {
    const target = [...document.querySelectorAll(`[data-key="${key}"]`)].find(visible);
    if (target) target.tagName === "INPUT" ? (target.focus(), target.select()) : target.click();
    return Boolean(target);
  };
  const step = (by) => {
    const rows = [...document.querySelectorAll("[data-row]")].filter(visible);
    if (!rows.length) return;
    let at = rows.indexOf(document.activeElement);
    if (at < 0) at = rows.findIndex((r) => r.classList.contains("on"));
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("keydown", (e) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName);
    if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) return void (press("ctrl-enter") && e.preventDefault());
    if (e.key === "Escape") return void (press("esc") || (typing && e.target.blur()));
    if (typing || e.ctrlKey || e.metaKey || e.altKey || $("dialog[open]")) return;
    if (e.key === "j") step(1);
    else if (e.key === "k") step(-1);
    else if (!["a", "d", "/", "?"].includes(e.key) || !press(e.key)) return;
    e.preventDefault();
  });

  document.addEventListener("click", (e) => {
    const near = (query) => e.target.closest(query);
    if (near("[data-theme]") && near("[data-theme]") !== root) {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
      root.dataset.theme = dark ? "light" : "dark";
      localStorage.setItem("theme", root.dataset.theme);
    }
    if (near('[data-key="?"]')) $("dialog.help").showModal();
    if (near("[data-reload]")) location.reload();
    const copied = near("[data-copy]");
    if (copied) {
      navigator.clipboard?.writeText(copied.textContent);
      copied.classList.add("copied");
      setTimeout(() => copied.classList.remove("copied"), 1200);
    }
  });

  // a filter is in force as soon as it is chosen; empty ones stay out of the address
  const send = (form) => {
    const asked = new URLSearchParams([...new FormData(form)].filter(([, v]) => v !== ""));
    location.assign(form.getAttribute("action") + (asked.size ? `?${asked}` : ""));
  };
  document.addEventListener("change", (e) => e.target.matches("form.filters select") && send(e.target.form));
  document.addEventListener("submit", (e) => {
    if (!e.target.matches("form.filters")) return;
    e.preventDefault();
    send(e.target);
  });
  window.addEventListener("popstate", () => location.reload());
  window.addEventListener("pageshow", (e) => e.persisted && location.reload());
})();
