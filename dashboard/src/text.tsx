// Texts of the node, and tables of texts.

import { segment } from "./api";

/** A text in which what stands between backticks is code. */
export function Words({ text }: { text: string }) {
  return <>{text.split("`").map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part))}</>;
}

/** What to do, one below the other. */
export function Fixes({ fixes, more }: { fixes: string[]; more?: string | null }) {
  return (
    <>
      {fixes.map((fix) => (
        <p class="fix" key={fix}>
          Fix: <Words text={fix} />
        </p>
      ))}
      {more && <p class="more">More: {more}</p>}
    </>
  );
}

/** A table of texts; with `link`, the texts of that column lead to the VM that they name. */
export function Lines({ heads, rows, link }: { heads: string[]; rows: string[][]; link?: number }) {
  if (rows.length === 0) return <p>Nothing yet.</p>;
  return (
    <table class="list" role="table">
      <thead role="rowgroup">
        <tr role="row">
          {heads.map((name) => (
            <th scope="col" role="columnheader" key={name}>
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody role="rowgroup">
        {rows.map((row, index) => (
          <tr key={index} role="row">
            {row.map((text, column) => (
              <td role="cell" key={column} data-label={heads[column]}>
                {column === link ? <a href={`#vms/${segment(text)}`}>{text}</a> : text}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
