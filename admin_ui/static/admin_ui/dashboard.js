// What the pages need beside htmx: pausing, the connection notice and the engine's spoken status.
"use strict";
(() => {
  const polling = { paused: false, isOff: () => polling.paused || document.hidden };
  window.riskPolling = polling;

  const showConnection = (isLost) => { document.getElementById("connection").hidden = !isLost; };
  polling.showConnection = showConnection;

  document.addEventListener("htmx:beforeRequest", (event) => {
    const asking = event.detail.elt;
    if (asking.matches("[data-poll]") && (polling.isOff() || asking.closest("details:not([open])"))) event.preventDefault();
  });
  document.addEventListener("htmx:sendError", () => showConnection(true));
  document.addEventListener("htmx:responseError", (event) => showConnection(event.detail.xhr.status >= 500));
  document.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.xhr.status < 400) showConnection(false);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    // Only a changed status is written, since a screen reader speaks every change.
    const next = event.detail.target.querySelector("#engine-status-next");
    const status = document.getElementById("engine-status");
    if (!next || !status) return;
    const text = next.content.textContent.trim();
    if (status.textContent.trim() !== text) status.replaceChildren(next.content.cloneNode(true));
  });

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("pause-toggle");
    if (!button) return;
    button.addEventListener("click", () => {
      polling.paused = !polling.paused;
      button.setAttribute("aria-pressed", String(polling.paused));
    });
  });
})();
