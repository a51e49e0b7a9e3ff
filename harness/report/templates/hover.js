(function () {
  "use strict";
  var figure = document.getElementById("timeline-figure"), box = document.getElementById("readout");
  var holder = document.getElementById("seconds");
  if (!figure || !box || !holder) { return; }
  var rows = JSON.parse(holder.textContent), at = -1;
  function time(s) { return Math.floor(s / 60) + ":" + String(s % 60).padStart(2, "0"); }
  function known(v) { return v === null ? "?" : v; }
  function line(parent, text, name) {
    var part = document.createElement(name === "b" ? "b" : "div");
    part.textContent = text;
    if (name && name !== "b") { part.className = name; }
    parent.appendChild(part);
  }
  function drawing() {
    return Array.prototype.find.call(figure.querySelectorAll("svg.drawing"), function (svg) { return svg.getClientRects().length > 0; });
  }
  function show(index, y) {
    var svg = drawing();
    if (!svg || !rows.length) { return; }
    at = Math.max(0, Math.min(rows.length - 1, index));
    // from, to, phase, certain, possible, streams, pods, slots, creates, accepted, refused, free, schedulable, faults, blind
    var r = rows[at], left = +svg.dataset.left, right = +svg.dataset.right, end = +svg.dataset.end;
    var x = left + (right - left) * Math.min(1, (r[0] + r[1]) / 2 / end), cross = svg.querySelector(".cross");
    cross.setAttribute("x1", x); cross.setAttribute("x2", x); cross.style.opacity = 0.55;
    box.textContent = "";
    line(box, (r[1] - r[0] > 1 ? time(r[0]) + "\u2013" + time(r[1]) : time(r[0])) + "  " + r[2], "b");
    if (r[13].length) { line(box, r[13].join(", ") + " in", "f"); }
    line(box, "open " + (r[3] === r[4] ? r[3] : r[3] + "\u2013" + r[4]) + " (streams " + known(r[5]) + ", pods " + known(r[6]) + ", slots " + known(r[7]) + ")");
    line(box, r[8] ? r[8] + (r[8] === 1 ? " create: " : " creates: ") + r[9] + " accepted" : "no create");
    if (r[10]) { line(box, r[10] + " refused with 503", "r"); }
    if (r[8] - r[9] - r[10]) { line(box, (r[8] - r[9] - r[10]) + " ended otherwise", "r"); }
    if (r[11] !== null) { line(box, "free shares " + r[11] + ", schedulable " + known(r[12])); }
    if (r[14].length) { line(box, "blind: " + r[14].join(", ")); }
    box.hidden = false;
    var scale = svg.clientWidth / svg.viewBox.baseVal.width, px = x * scale, wide = box.offsetWidth;
    box.style.left = Math.max(0, px + 14 + wide > figure.clientWidth ? px - wide - 14 : px + 14) + "px";
    var top = y === undefined ? 40 * scale : y - figure.getBoundingClientRect().top + 16;
    box.style.top = Math.max(0, Math.min(top, figure.clientHeight - box.offsetHeight)) + "px";
  }
  function hide() {
    box.hidden = true;
    figure.querySelectorAll(".cross").forEach(function (cross) { cross.style.opacity = 0; });
  }
  function point(event) {
    var svg = drawing();
    if (!svg) { return; }
    var area = svg.getBoundingClientRect(), x = (event.clientX - area.left) * svg.viewBox.baseVal.width / area.width;
    var s = (x - svg.dataset.left) / (svg.dataset.right - svg.dataset.left) * svg.dataset.end;
    if (s < 0 || s > +svg.dataset.end) { hide(); return; }
    var found = rows.findIndex(function (r) { return s < r[1]; });
    show(found < 0 ? rows.length - 1 : found, event.clientY);
  }
  figure.addEventListener("pointermove", point);
  figure.addEventListener("pointerdown", point);
  figure.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", function (event) {
    var step = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (event.key === "Escape") { hide(); return; }
    if (event.key === "Home") { show(0); } else if (event.key === "End") { show(rows.length - 1); } else if (step) { show(at + step); } else { return; }
    event.preventDefault();
  });
})();
