extension Markup {
    /// The page's look, light and dark; the six colours of series are Okabe and Ito's, which colour-blind people tell apart, darker
    /// or lighter where the background wants it.
    static let stylesheet = Markup.style(
        """
        :root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--ink:#1b1d21;--soft:#5a606b;--faint:#e3e4e6;--edge:#d9dade;
        --accent:#0072b2;--warn:#8a3b00;--warnback:#fff1e2;
        --c0:#0072b2;--c1:#c75000;--c2:#00805d;--c3:#a8487f;--c4:#946800;--c5:#3f79a8}
        @media (prefers-color-scheme:dark){:root{--page:#15171b;--card:#1d2026;--ink:#e9eaec;--soft:#a3a9b4;--faint:#2e323a;
        --edge:#353a43;--accent:#5bb4ea;--warn:#ffb777;--warnback:#3a2613;
        --c0:#5bb4ea;--c1:#ff8a3d;--c2:#2fc79b;--c3:#e39bc4;--c4:#f0b840;--c5:#9fd0f2}}
        *{box-sizing:border-box}
        body{margin:0;background:var(--page);color:var(--ink);
        font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
        main{max-width:1160px;margin:0 auto;padding:32px 20px 64px}
        h1{font-size:1.75rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.015em}
        h2{font-size:1.25rem;margin:44px 0 12px;letter-spacing:-.01em}
        h3{font-size:1rem;margin:0 0 8px;line-height:1.35}
        p{margin:0 0 10px;max-width:75ch}
        a{color:var(--accent)}
        .lead{color:var(--soft);margin-bottom:18px}
        .facts{display:flex;flex-wrap:wrap;gap:2px 18px;color:var(--soft);font-size:.875rem;margin:0 0 14px;padding:0;list-style:none}
        .facts b{color:var(--ink);font-weight:600}
        .warn{background:var(--warnback);color:var(--warn);border-radius:8px;padding:10px 14px;margin:0 0 14px;max-width:none}
        .grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,430px),1fr));gap:18px;align-items:start}
        figure,.card{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:16px 18px;margin:0;min-width:0}
        .card{margin-bottom:18px}
        .card .note{margin:0}
        .plot{overflow-x:auto}
        .plot svg{display:block;width:100%;max-width:560px;height:auto;margin:0 auto}
        svg text{font-family:inherit;font-size:12px;fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:3px;
        stroke-linejoin:round}
        svg .tick,svg .axis,svg .roofname,svg .beyond{fill:var(--soft)}
        svg .tick,svg .roofname,svg .beyond{font-size:11px}
        svg .tick,svg .value,td,.num{font-variant-numeric:tabular-nums}
        svg .value{font-weight:600}
        .rule{stroke:var(--faint);stroke-width:1}
        .base{stroke:var(--soft);stroke-width:1}
        .unity{stroke:var(--soft);stroke-width:1}
        .ideal{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:4 3;fill:none}
        .roof{stroke:var(--soft);stroke-width:1.5}
        .bar{stroke:var(--c);stroke-width:3;opacity:.45}
        .span{stroke:var(--c);stroke-width:6;opacity:.55;stroke-linecap:round}
        .curve{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
        .external{stroke-dasharray:6 3}
        .whisker{fill:none;stroke:var(--c);stroke-width:1.2}
        .mark{fill:var(--c);stroke:var(--card);stroke-width:1}
        .stroke{stroke:var(--c0);stroke-width:1;opacity:.35;fill:none}
        .box{fill:var(--c0);fill-opacity:.16}
        .median{stroke:var(--c1);stroke-width:4;stroke-linecap:round}
        .medianmark{stroke:var(--c1);stroke-width:1.5}
        .heat{fill:var(--c0)}
        .heatframe{fill:none;stroke:var(--faint)}
        .s0{--c:var(--c0)}.s1{--c:var(--c1)}.s2{--c:var(--c2)}.s3{--c:var(--c3)}.s4{--c:var(--c4)}.s5{--c:var(--c5)}
        .legend{display:flex;flex-wrap:wrap;gap:2px 16px;list-style:none;margin:8px 0 0;padding:0;font-size:.8125rem}
        .legend li{display:flex;align-items:center;gap:6px}
        .legend svg{flex:none}
        .note{color:var(--soft);font-size:.8125rem;margin:8px 0 0}
        details{margin-top:10px;font-size:.875rem}
        summary{cursor:pointer;color:var(--soft)}
        details.workload{background:none;margin:0 0 18px;font-size:1rem}
        details.workload[open]{margin-bottom:34px}
        details.workload summary.name{color:var(--ink);font-weight:600;font-size:1.0625rem;padding:6px 0}
        .scroll{overflow-x:auto;margin:8px 0 0}
        table{border-collapse:collapse;font-size:.8125rem;line-height:1.4;min-width:100%}
        th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--faint);white-space:nowrap}
        th:first-child,td:first-child{padding-left:0}
        th:last-child,td:last-child{padding-right:0}
        th{font-weight:500}
        thead th{color:var(--soft);vertical-align:bottom;white-space:normal}
        .text{text-align:left}
        td.text,tbody th.text{white-space:normal;min-width:9em}tbody th.text{min-width:11em}
        tr.strong td,tr.strong th{font-weight:650}
        tbody tr:last-child td,tbody tr:last-child th{border-bottom:0}
        code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;font-size:.8125rem;overflow-wrap:anywhere}
        dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0;font-size:.875rem}
        dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
        footer{color:var(--soft);font-size:.8125rem;margin-top:44px}
        @media (max-width:520px){main{padding:20px 12px 40px}figure,.card{padding:14px 10px}h2{margin-top:32px}
        tbody th.text{min-width:9em}svg text{font-size:13px}svg .tick,svg .roofname,svg .beyond{font-size:12px}
        dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}
        @media print{body{background:#fff}figure,.card{break-inside:avoid}}
        """)
}
