"use strict";
const $ = (id) => document.getElementById(id);
const pictures = [...document.querySelectorAll(".row")].map((row) => {
  const images = [...row.querySelectorAll("img")];
  return {
    caption: row.querySelector("p").textContent,
    width: Number(images[0].getAttribute("width")),
    height: Number(images[0].getAttribute("height")),
    source: Object.fromEntries(images.map((image) => [image.alt, image.src])),
    first: images[0].src,
  };
});
const panes = [...document.querySelectorAll(".pane")];
const pairs = [$("pair"), $("difference")];
let shown = 0;

function draw() {
  const picture = pictures[shown];
  const [left, right] = [$("left").value, $("right").value];
  for (const pair of pairs) {
    const [under, over] = pair.querySelectorAll("img");
    under.src = picture.source[right];
    over.src = picture.source[left];
  }
  $("caption").textContent = picture.caption;
  $("compared").textContent = `${left} | ${right}`;
  $("subtracted").textContent = `|${left} − ${right}| × ${$("factor").value}`;
  $("difference").style.setProperty("--factor", $("factor").value);
  [...$("thumbs").children].forEach((button, i) => button.setAttribute("aria-pressed", i === shown));
  resize();
}

function resize() {
  const { width, height } = pictures[shown];
  // Show the whole picture, but never enlarge a pixel to more than 8.
  const fit = Math.min(8, panes[0].clientWidth / width, (0.85 * innerHeight) / height);
  const scale = $("size").value === "fit" ? fit : Number($("size").value);
  for (const pair of pairs) {
    pair.style.width = `${Math.floor(width * scale)}px`;
    pair.style.aspectRatio = `${width} / ${height}`;
    pair.classList.toggle("shrunk", scale < 1);
  }
}

function show(i) {
  shown = (i + pictures.length) % pictures.length;
  draw();
}

pictures.forEach((picture, i) => {
  const button = document.createElement("button");
  const image = document.createElement("img");
  button.title = picture.caption;
  image.alt = `picture ${i + 1}`;
  image.loading = "lazy";
  image.src = picture.first;
  button.onclick = () => show(i);
  button.append(image);
  $("thumbs").append(button);
});
for (const id of ["left", "right", "factor"]) $(id).onchange = draw;
$("size").onchange = resize;
$("slider").oninput = (event) => $("pair").style.setProperty("--at", `${event.target.value}%`);
panes.forEach((pane, i) => {
  pane.onscroll = () => panes[1 - i].scrollTo(pane.scrollLeft, pane.scrollTop);
});
addEventListener("resize", resize);
addEventListener("keydown", (event) => {
  const step = { n: 1, p: -1 }[event.key];
  if (!step || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault(); // a focused list would jump to a name with that letter
  show(shown + step);
});
draw();
