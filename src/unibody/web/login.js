// Hands the code in the URL's fragment in for a session; the fragment never reaches the server's log.
(async () => {
  const say = document.getElementById("say");
  const next = new URL(new URLSearchParams(location.search).get("next") || "/", location.origin);
  const code = new URLSearchParams(location.hash.slice(1)).get("code");
  if (!code) return;
  history.replaceState(null, "", location.pathname + location.search);
  say.textContent = "Signing in…";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ code }),
    });
    const body = await answer.json();
    if (body.ok) location.replace(next.origin === location.origin ? next.pathname + next.search : "/");
    else say.textContent = body.error.what;
  } catch {
    say.textContent = "The server does not answer. Is `unibody up` still running?";
  }
})();
