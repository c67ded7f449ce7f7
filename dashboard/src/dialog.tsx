// The question before anything is changed: what will happen, and the answer of the node when it has.

import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren } from "preact";

export interface Question {
  title: string;
  /** What will happen, line by line. */
  lines: string[];
  /** The word on the button. */
  verb: string;
  danger?: boolean;
  /** Does it; gives what came of it. */
  act: () => Promise<string>;
}

let ask: (question: Question) => void = () => undefined;

/** Asks before `question.act` is done. */
export const confirm = (question: Question): void => ask(question);

/** The place of the dialog, once on the page. */
export function Dialog() {
  const [question, setQuestion] = useState<Question | null>(null);
  const [busy, setBusy] = useState(false);
  const [answer, setAnswer] = useState<{ text: string; failed: boolean } | null>(null);
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    ask = (next) => {
      setQuestion(next);
      setAnswer(null);
      setBusy(false);
    };
  }, []);
  useEffect(() => {
    if (question && !element.current?.open) element.current?.showModal();
  }, [question]);
  const close = (): void => {
    element.current?.close();
    setQuestion(null);
  };
  const act = async (): Promise<void> => {
    if (!question) return;
    setBusy(true);
    try {
      setAnswer({ text: await question.act(), failed: false });
    } catch (error) {
      setAnswer({ text: error instanceof Error ? error.message : String(error), failed: true });
    }
    setBusy(false);
  };
  return (
    <dialog ref={element} aria-labelledby="dialog-title" onCancel={(event) => (busy ? event.preventDefault() : close())}>
      {question && (
        <>
          <h2 id="dialog-title">{question.title}</h2>
          {question.lines.map((line) => (
            <p key={line}>{line}</p>
          ))}
          <div role="status" aria-live="polite">
            {busy && <p>Asking the node…</p>}
            {answer && <p class={answer.failed ? "bad" : "good"}>{answer.text}</p>}
          </div>
          <p class="buttons">
            {!answer && (
              <button type="button" class={question.danger ? "danger" : "primary"} disabled={busy} onClick={act}>
                {question.verb}
              </button>
            )}
            <button type="button" disabled={busy} onClick={close}>
              {answer ? "Close" : "Cancel"}
            </button>
          </p>
        </>
      )}
    </dialog>
  );
}

export function Notice({ kind, children }: { kind: "bad" | "warn" | "good"; children: ComponentChildren }) {
  return (
    <p class={`notice ${kind}`} role="status">
      {children}
    </p>
  );
}
