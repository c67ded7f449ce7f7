// What VMs can start from, and its download.

import { call, segment } from "../api";
import { confirm } from "../dialog";
import { size } from "../format";
import { useLooks } from "../looks";
import type { Image } from "../types";

const EVERY = 2000;

function pull(image: Image): void {
  const isHere = image.bytes !== null;
  confirm({
    title: `Download ${image.name}?`,
    lines: [
      `${image.name} is fetched from its publisher, some hundred megabytes, and checked.`,
      isHere ? "It takes the place of the one that is here; VMs that started from that keep it." : "Renters can ask for it then.",
    ],
    verb: "Download",
    act: async () => {
      await call("POST", `/images/${segment(image.name)}`);
      return "The download has begun.";
    },
  });
}

function standing({ pull: now, bytes }: Image): string {
  if (now?.state === "running") return `downloading, ${size(now.done)}${now.total ? ` of ${size(now.total)}` : ""}`;
  if (now?.state === "failed") return `not downloaded: ${now.error ?? "the log says why"}`;
  const here = bytes === null ? "not here" : `here, ${size(bytes)}`;
  return now?.state === "same" ? `${here}, its publisher's newest` : here;
}

export function ImagesView() {
  const [images, why] = useLooks<Image[]>("/images", EVERY);
  return (
    <>
      <h1>Images</h1>
      {why && <p class="bad">{why}</p>}
      {images?.length === 0 && <p>The backend of this node has no images of its own.</p>}
      <ul class="issues">
        {images?.map((image) => (
          <li key={image.name}>
            <strong>{image.name}</strong>
            {image.default ? " (default)" : ""}
            {image.aliases.length > 0 ? `, also ${image.aliases.join(", ")}` : ""}: {standing(image)}
            {image.can_be_pulled && (
              <p class="buttons">
                <button type="button" disabled={image.pull?.state === "running"} onClick={() => pull(image)}>
                  {image.bytes === null ? "Download" : "Download anew"} <span class="unseen">{image.name}</span>
                </button>
              </p>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}
