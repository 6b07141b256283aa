// The canvas over the 3D view: it draws strokes while they are made and sends each one to the server.
// Run by app/viewer/drawing.py as the body of a function; CONFIG is replaced by a JSON object.
const config = CONFIG;

if (window.fit3dDrawing) window.fit3dDrawing.dispose();  // viser connected again without a reload

const MAX_POINTS = config.maxPoints;
const COLOURS = {positive: "255, 122, 26", negative: "36, 112, 255"};
const CLICK_TRAVEL = 4;  // pixels that a click may wander
const SPACING = 1.5;  // pixels between the points of a stroke
const STEP = 1.2;  // of the radius, for each press of [ or ]
const QUEUE = 16;  // messages kept while the connection is away

let state = {tool: "off", radius: 12, positive: true, marks: []};
let view = null, overlay = null, socket = null, disposed = false;
let stroke = null, pointer = null, keys = {shift: false, ctrl: false, alt: false}, panning = false;
let pause = 500, redrawing = false;
const waiting = [];
const listeners = new AbortController();
const on = (target, kinds, handler, options = {}) => kinds.split(" ").forEach(
  (kind) => target.addEventListener(kind, handler, {signal: listeners.signal, ...options}));

// --- the connection ---

function connect() {
  if (disposed) return;
  const address = new URL(config.path.slice(1), new URL(".", location.href));
  address.protocol = address.protocol.replace("http", "ws");
  address.search = "";
  socket = new WebSocket(address);
  socket.onopen = () => {
    pause = 500;
    report();
    waiting.splice(0).forEach((text) => socket.send(text));
  };
  socket.onmessage = (event) => apply(JSON.parse(event.data));
  socket.onclose = (event) => {
    if (event.code === config.gone) {
      window.fit3dDrawing.dispose();
      return;
    }
    setTimeout(connect, pause);
    pause = Math.min(2 * pause, 30000);
  };
}

function send(message) {
  const text = JSON.stringify(message);
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(text);
  else if (waiting.length < QUEUE) waiting.push(text);
}

function apply(next) {
  if (next.tool !== state.tool) stroke = null;
  state = next;
  arrange();
  redraw();
}

// --- the canvas ---

const findView = () => document.querySelector('canvas[data-engine^="three.js"]');

function attach() {
  if (disposed) return;
  const found = findView();
  if (found && (found !== view || !overlay.isConnected)) {
    view = found;
    if (overlay) overlay.remove();
    overlay = document.createElement("canvas");
    overlay.id = "fit3d-drawing";
    overlay.style.cssText = "position:absolute;left:0;top:0;touch-action:none;outline:none";
    view.parentElement.appendChild(overlay);
    sizes.disconnect();
    sizes.observe(view);
    watchPointer();
    arrange();
    report();
  }
  setTimeout(attach, view ? 1000 : 100);  // viser may replace its canvas
}

const sizes = new ResizeObserver(() => {
  stroke = null;
  arrange();
  report();
});

function arrange() {
  if (!overlay) return;
  const ratio = window.devicePixelRatio || 1;
  const size = [Math.round(view.clientWidth * ratio), Math.round(view.clientHeight * ratio)];
  if (overlay.width !== size[0] || overlay.height !== size[1]) [overlay.width, overlay.height] = size;
  overlay.style.width = `${view.clientWidth}px`;
  overlay.style.height = `${view.clientHeight}px`;
  overlay.style.pointerEvents = state.tool === "off" || panning ? "none" : "auto";
  overlay.style.cursor = state.tool === "brush" ? "none" : "crosshair";
  redraw();
}

function renderer() {
  const gl = view.getContext("webgl2") || view.getContext("webgl");
  const names = gl && gl.getExtension("WEBGL_debug_renderer_info");
  return String((gl && gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : gl.RENDERER)) || "").slice(0, 256);
}

function report() {
  if (!view || !view.clientWidth || !view.clientHeight) return;
  if (!socket || socket.readyState !== WebSocket.OPEN) return;  // said again when it opens
  const [width, height] = [view.clientWidth, view.clientHeight];
  send({kind: "canvas", width, height, ratio: window.devicePixelRatio || 1, renderer: renderer()});
}

// --- strokes ---

function place(event) {
  // A mouse reports the corner of its pixel; pixel centres are at half-integers, as in viser's own rays.
  const box = view.getBoundingClientRect();
  const inside = (value, size) => Math.min(Math.max(value + 0.5, 0), size);
  return [inside(event.clientX - box.left, view.clientWidth), inside(event.clientY - box.top, view.clientHeight)];
}

const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

function extend(event) {
  const events = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
  for (const each of events.length ? events : [event]) {
    const point = place(each);
    if (state.tool === "rectangle") stroke.points = [stroke.points[0], point];
    else if (distance(point, stroke.points.at(-1)) >= stroke.spacing) stroke.points.push(point);
  }
  if (stroke.points.length >= MAX_POINTS) {
    stroke.points = stroke.points.filter((_, index) => index % 2 === 0);
    stroke.spacing *= 2;
  }
}

function finish(event) {
  const done = stroke;
  stroke = null;
  redraw();
  if (done.tool === "point") {
    if (distance(place(event), done.points[0]) > CLICK_TRAVEL) return;
  } else if (done.tool === "rectangle") {
    if (done.points.length < 2 || done.points[0].some((value, axis) => value === done.points[1][axis])) return;
  } else if (done.tool === "lasso" && done.points.length < 3) return;
  const round = (value) => Math.round(value * 100) / 100;
  send({
    kind: "drawing", tool: done.tool, points: done.points.map((point) => point.map(round)), radius: state.radius,
    positive: state.positive, ...keys, width: view.clientWidth, height: view.clientHeight,
  });
}

function watchPointer() {
  on(overlay, "pointerdown", (event) => {
    follow(event);
    if (event.button !== 0 || !event.isPrimary || state.tool === "off") return;
    stroke = {tool: state.tool, points: [place(event)], spacing: SPACING, id: event.pointerId};
    if (state.tool !== "point") {  // a drag of the point tool still turns the camera
      event.stopPropagation();
      event.preventDefault();
      if (document.activeElement) document.activeElement.blur();  // keys belong to the view now
      overlay.setPointerCapture(event.pointerId);
    }
    redraw();
  });
  on(overlay, "pointermove", (event) => {
    follow(event);
    if (!stroke || event.pointerId !== stroke.id || stroke.tool === "point") return;
    event.stopPropagation();
    extend(event);
  });
  on(overlay, "pointerup", (event) => {
    follow(event);
    if (!stroke || event.pointerId !== stroke.id || event.button !== 0) return;
    if (stroke.tool !== "point") event.stopPropagation();
    finish(event);
  });
  on(overlay, "pointercancel", cancel);
  on(overlay, "pointerleave", () => {
    pointer = null;
    redraw();
  });
  on(overlay, "contextmenu", (event) => event.preventDefault());
}

function follow(event) {
  pointer = place(event);
  keys = {shift: event.shiftKey, ctrl: event.ctrlKey || event.metaKey, alt: event.altKey};
  redraw();
}

function cancel() {
  stroke = null;
  redraw();
}

// --- keys ---

const isTyping = () => {
  const element = document.activeElement;
  return Boolean(element && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName)));
};

function pressed(event) {
  if (state.tool === "off" || isTyping()) return;
  keys = {shift: event.shiftKey, ctrl: event.ctrlKey || event.metaKey, alt: event.altKey};
  if (event.type === "keydown" && event.key === "Escape" && stroke) {
    cancel();
    event.stopPropagation();
  } else if (event.type === "keydown" && (event.key === "[" || event.key === "]") && state.tool === "brush") {
    const radius = state.radius * (event.key === "]" ? STEP : 1 / STEP);
    state.radius = Math.min(Math.max(Math.round(radius * 10) / 10, config.minRadius), config.maxRadius);
    send({kind: "radius", radius: state.radius});
  } else if (event.code === "Space") {  // held: the mouse moves the camera
    panning = event.type === "keydown";
    arrange();
  }
  redraw();
}

on(window, "keydown keyup", pressed, {capture: true});
on(window, "blur", () => {
  panning = false;
  cancel();
  arrange();
});

// --- drawing ---

const colour = (positive, alpha) => `rgba(${COLOURS[positive ? "positive" : "negative"]}, ${alpha})`;
const isPositive = () => state.positive && !keys.ctrl && !keys.alt;

function redraw() {
  if (redrawing || !overlay) return;
  redrawing = true;
  requestAnimationFrame(() => {
    redrawing = false;
    paint();
  });
}

function paint() {
  const pen = overlay.getContext("2d");
  const ratio = overlay.width / Math.max(view.clientWidth, 1);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, view.clientWidth, view.clientHeight);
  const showsRing = pointer && state.tool === "brush" && !panning;
  state.marks.forEach((mark) => trace(pen, mark, scaled(mark.points, mark), mark.positive));
  if (stroke) trace(pen, {tool: stroke.tool, radius: state.radius}, stroke.points, isPositive());
  if (showsRing) ring(pen);
  // Chromium may go on showing the last picture of a canvas that is only cleared.
  overlay.style.opacity = stroke || showsRing || state.marks.length ? "1" : "0";
}

// Marks keep the canvas size that they were drawn at.
const scaled = (points, mark) => points.map(
  ([x, y]) => [x * view.clientWidth / mark.width, y * view.clientHeight / mark.height]);

function trace(pen, {tool, radius}, points, positive) {
  pen.lineJoin = pen.lineCap = "round";
  pen.beginPath();
  if (tool === "rectangle") {
    const [[x, y], end] = [points[0], points.at(-1)];
    pen.rect(x, y, end[0] - x, end[1] - y);
  } else {
    pen.moveTo(...points[0]);
    points.forEach((point) => pen.lineTo(...point));
  }
  pen.strokeStyle = colour(positive, tool === "brush" ? 0.45 : 0.95);
  pen.lineWidth = {brush: 2 * radius, point: 7}[tool] || 1.5;
  if (tool === "lasso" || tool === "rectangle") {
    pen.fillStyle = colour(positive, 0.15);
    pen.fill();
    pen.setLineDash([6, 4]);
  }
  pen.stroke();
  pen.setLineDash([]);
}

function ring(pen) {
  // A dark line below the coloured one, to be seen on any picture.
  for (const [style, width] of [["rgba(0, 0, 0, 0.55)", 3], [colour(isPositive(), 1), 1.5]]) {
    pen.beginPath();
    pen.arc(...pointer, state.radius, 0, 2 * Math.PI);
    pen.strokeStyle = style;
    pen.lineWidth = width;
    pen.stroke();
  }
}

window.fit3dDrawing = {
  state: () => state,
  dispose() {
    disposed = true;
    listeners.abort();
    sizes.disconnect();
    if (overlay) overlay.remove();
    if (socket) socket.close();
  },
};

attach();
connect();
