//! A picture as one HTML page: the SVG with pan and zoom, and a panel with everything about the box that is pointed at. Needs no network.

use super::{Picture, escaped, svg::svg};

/// The picture as a page with a title.
pub fn html(picture: &Picture, title: &str) -> String {
    let title = escaped(title);
    let drawing = svg(picture);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n\
         <header><b>{title}</b><span>drag to move, wheel to zoom, double-click to fit; point at a box for details, click to keep them</span></header>\n\
         <main>{drawing}</main>\n<aside id=\"details\"></aside>\n<script>{SCRIPT}</script>\n</body></html>\n"
    )
}

const STYLE: &str = "\
html,body{margin:0;height:100%;overflow:hidden;font:13px ui-monospace,'DejaVu Sans Mono',monospace;color:#24292f}\
header{position:fixed;z-index:1;top:0;left:0;right:0;padding:6px 12px;background:#f6f8fa;border-bottom:1px solid #d0d7de;display:flex;gap:24px}\
header span{color:#818b98}main{position:absolute;inset:30px 0 0 0;cursor:grab}main svg{width:100%;height:100%}\
aside{position:fixed;right:12px;bottom:12px;max-width:60%;max-height:50%;overflow:auto;padding:10px 14px;background:#fffffff0;\
border:1px solid #d0d7de;border-radius:6px;white-space:pre;font-size:12px;box-shadow:0 4px 16px #0002}aside:empty{display:none}\
.box:hover>rect{stroke-width:3}.edge:hover,.edge.lit{stroke:#d1242f;stroke-opacity:1;stroke-width:3}";

const SCRIPT: &str = "\
const svg=document.querySelector('main svg'),panel=document.getElementById('details'),whole=svg.viewBox.baseVal;\
const fit={x:whole.x,y:whole.y,w:whole.width,h:whole.height};let v={...fit},drag=null,kept=null;\
svg.setAttribute('preserveAspectRatio','xMidYMin meet');\
const show=()=>svg.setAttribute('viewBox',`${v.x} ${v.y} ${v.w} ${v.h}`);\
const scale=()=>Math.max(v.w/svg.clientWidth,v.h/svg.clientHeight);\
svg.addEventListener('wheel',e=>{e.preventDefault();const m=svg.getScreenCTM().inverse(),\
px=e.clientX*m.a+m.e,py=e.clientY*m.d+m.f,k=Math.exp(e.deltaY*0.0015);\
v={x:px-(px-v.x)*k,y:py-(py-v.y)*k,w:v.w*k,h:v.h*k};show()},{passive:false});\
svg.addEventListener('pointerdown',e=>{drag={x:e.clientX,y:e.clientY,vx:v.x,vy:v.y,moved:false}});\
addEventListener('pointermove',e=>{if(!drag)return;const s=scale();if(Math.abs(e.clientX-drag.x)+Math.abs(e.clientY-drag.y)>4)drag.moved=true;\
v.x=drag.vx-(e.clientX-drag.x)*s;v.y=drag.vy-(e.clientY-drag.y)*s;show()});\
addEventListener('pointerup',()=>{setTimeout(()=>drag=null)});\
svg.addEventListener('dblclick',()=>{v={...fit};show()});\
const tell=b=>{panel.textContent=b?b.querySelector('title').textContent:'';\
document.querySelectorAll('.edge').forEach(p=>p.classList.toggle('lit',!!b&&(p.dataset.from===b.dataset.id||p.dataset.to===b.dataset.id)))};\
document.querySelectorAll('.box').forEach(b=>{b.addEventListener('mouseenter',()=>{if(!kept)tell(b)});\
b.addEventListener('mouseleave',()=>{if(!kept)tell(null)});\
b.addEventListener('click',e=>{if(drag&&drag.moved)return;kept=kept===b?null:b;tell(b);e.stopPropagation()})});\
svg.addEventListener('click',()=>{if(drag&&drag.moved)return;kept=null;tell(null)});";
