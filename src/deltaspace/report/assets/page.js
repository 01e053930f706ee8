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
/** A value as tables show it: numbers with as many decimals as their column. */
const shown = (value, number, decimals = Number.isInteger(value) ? 0 : 1) => {
  if (value === null || value === undefined) return "–";
  return number ? value.toFixed(decimals) : String(value);
};
/** The decimals of a column of numbers: none if all are whole, three if all are small, else one. */
const decimalsOf = (values) => {
  if (values.every(Number.isInteger)) return 0;
  return values.every((value) => Math.abs(value) < 10) ? 3 : 1;
};
