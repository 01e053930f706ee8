"use strict";
// What both parts of the page use: its data, short ways to elements, how a value is shown.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};
const exact = (value) => (value === null || value === undefined ? "" : String(value));
/** A value as tables show it: numbers with a decimal, unless all of the column are whole. */
const shown = (value, number, whole = Number.isInteger(value)) => {
  if (value === null || value === undefined) return "–";
  return number && !whole ? value.toFixed(1) : String(value);
};
