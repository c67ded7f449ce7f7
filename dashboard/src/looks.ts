// What the node tells at a path, looked at again and again while a view is open.

import { useEffect, useState } from "preact/hooks";
import { look } from "./api";

/** What `path` told last, `undefined` before its first answer; and why it tells nothing now. */
export function useLooks<T>(path: string, every: number): [T | undefined, string] {
  const [told, setTold] = useState<T | undefined>(undefined);
  const [why, setWhy] = useState("");
  useEffect(() => {
    // An answer that comes after another path was wished is nobody's.
    let isOver = false;
    const load = (): void =>
      void look<T>(path).then(
        (found) => isOver || (setTold(found), setWhy("")),
        (error: Error) => isOver || setWhy(error.message),
      );
    load();
    const timer = setInterval(load, every);
    return () => {
      isOver = true;
      clearInterval(timer);
    };
  }, [path]);
  return [told, why];
}
